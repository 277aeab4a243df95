"""Agents by a real client of the Model Context Protocol, and the examples that are printed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from apps import UNHURRIED, quiet_app

from benchmarks.browser import ROOT

pytestmark = pytest.mark.process

CROSS = {"strokes": [[[0, 0], [10, 10]], [[10, 0], [0, 10]]]}
CUP = {"strokes": [[[0, 0], [2, 8], [5, 10], [8, 8], [10, 0]]]}
SYMBOLS = [{"name": "cross", "examples": [CROSS]}, {"name": "cup", "examples": [CUP]}]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    variables = {"MAML_MCP": "1", "MAML_PROXIES": "1"}
    with quiet_app(tmp_path_factory.mktemp("app"), UNHURRIED, **variables) as port:
        yield f"http://127.0.0.1:{port}"


# The client in a process of its own: its libraries warn of their own future.
_CLIENT = """
import asyncio, json, sys
from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client

async def main(url, calls):
    async with streamablehttp_client(url) as (read, write, _), ClientSession(read, write) as client:
        await client.initialize()
        tools = [tool.model_dump() for tool in (await client.list_tools()).tools]
        results = []
        for arguments in calls:
            result = await client.call_tool("adapt_and_classify", arguments)
            results.append([result.isError, [one.text for one in result.content]])
        print(json.dumps({"tools": tools, "results": results}))

asyncio.run(main(sys.argv[1], json.loads(sys.stdin.read())))
"""


def agent(url: str, *calls: dict[str, Any]) -> dict[str, Any]:
    """The tools that an agent finds, and the results of its calls."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _CLIENT, f"{url}/gradio_api/mcp/"],
        input=json.dumps(calls),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def test_an_agent_finds_one_bounded_tool_and_calls_it(url: str) -> None:
    good = {"symbols": SYMBOLS, "queries": [CUP, CROSS], "steps": 5}
    calls = [
        good,
        {"symbols": SYMBOLS, "queries": [CUP]},
        good,
        {**good, "symbols": SYMBOLS[:1]},
        {**good, "queries": [CUP] * 101},
        {**good, "steps": 21},
        {**good, "queries": [{"strokes": "x"}]},
    ]
    found = agent(url, *calls)
    (tool,) = found["tools"]
    assert tool["name"] == "adapt_and_classify" and "Adapts to a few" in tool["description"]
    schema = tool["inputSchema"]
    symbols, queries = schema["properties"]["symbols"], schema["properties"]["queries"]
    assert schema["required"] == ["symbols", "queries"]
    assert (symbols["minItems"], symbols["maxItems"]) == (2, 20)
    assert symbols["items"]["required"] == ["name", "examples"]
    assert symbols["items"]["properties"]["examples"]["maxItems"] == 20
    assert symbols["items"]["properties"]["examples"]["minItems"] == 1
    assert (queries["minItems"], queries["maxItems"]) == (1, 100)
    number = next(one for one in schema["properties"]["steps"]["oneOf"] if one["type"] == "integer")
    assert (number["minimum"], number["maximum"]) == (0, 20)
    assert set(queries["items"]["properties"]) == {"strokes", "picture"}
    first, default, again, *refused = found["results"]
    answer = json.loads(first[1][0])
    assert [one["name"] for one in answer["answers"]] == ["cup", "cross"]
    assert len(answer["trajectory"]) == 6 and not first[0]
    assert json.loads(default[1][0])["answers"][0]["name"] == "cup"
    assert again == first, "nothing is kept between calls"
    for is_error, texts in refused:
        assert is_error and "Traceback" not in texts[0]


def test_without_the_setting_there_is_no_server(url: str) -> None:
    # The endpoint is there for programs all the same; agents' older ways are closed.
    for path in ("mcp/sse", "mcp/messages/"):
        assert requests.get(f"{url}/gradio_api/{path}", timeout=30).status_code == 404


def test_a_refusal_is_no_fault_of_the_server(url: str) -> None:
    route = f"{url}/gradio_api/run/adapt_and_classify"
    body: Any = {"data": [SYMBOLS[:1], [CUP], None]}
    answer = requests.post(route, json=body, timeout=30)
    assert answer.status_code == 400 and "two symbols" in answer.json()["error"]
    few = requests.post(route, json={"data": [[]]}, timeout=30)
    assert few.status_code == 400 and few.json()["error"] == "The event takes 3 values; got 1"
    body["data"][0] = SYMBOLS
    answer = requests.post(route, json=body, timeout=30)
    assert answer.status_code == 200
    assert answer.json()["data"][0]["answers"][0]["name"] == "cup"


def test_one_address_cannot_flood_the_tool(url: str) -> None:
    def call(number: int) -> int:
        return requests.post(
            f"{url}/gradio_api/mcp/", data="{}", headers=headers, timeout=30
        ).status_code

    headers = {"X-Forwarded-For": "198.51.100.20", "Content-Type": "application/json"}
    with ThreadPoolExecutor(16) as callers:
        statuses = list(callers.map(call, range(250)))
    assert 429 in statuses and not any(status >= 500 for status in statuses)


def test_the_printed_examples_run_as_they_stand(url: str) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    text = (Path(ROOT) / "docs" / "hosting.md").read_text(encoding="utf-8")
    examples = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    assert len(examples) >= 2
    for example in examples:
        script = example.replace("http://127.0.0.1:7860", url)
        run = subprocess.run(["bash", "-euo", "pipefail", "-c", script], capture_output=True)
        assert run.returncode == 0, run.stderr.decode()
        assert b'"name":"cup"' in run.stdout.replace(b'": ', b'":'), (example, run.stdout)
