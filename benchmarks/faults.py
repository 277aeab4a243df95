"""Single-point faults of a Python file: another operator, constant, argument, a statement less.

Each fault replaces one stretch of the source text and leaves the rest as it is.
"""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
_KEPT_DECORATORS = {"property", "classmethod", "staticmethod", "abstractmethod", "overload"}
"""Without one of these nothing would run at all."""
_WORD = re.compile(r"[A-Za-z][\w./-]*")
"""Texts that stand for something, unlike sentences."""
_PARTS_OF_A_STATEMENT = (ast.expr, ast.keyword, ast.comprehension, ast.withitem, ast.arguments)


@dataclass(frozen=True)
class Fault:
    """One fault.

    Args:
        path: of the file, relative to the checkout.
        place: the function it is in, with its class; "" outside of functions.
        start, end: the bytes that it replaces.
        was, becomes: their text, before and after.
        first, last: the lines of the statement it is in, from 1.
        names: what a fault outside of functions is known by elsewhere.
        number: which of several equal ones in a function it is, from 1.
    """

    path: str
    place: str
    start: int
    end: int
    was: str
    becomes: str
    first: int
    last: int
    names: frozenset[str]
    number: int = 1

    @property
    def key(self) -> str:
        """What it is called; stays the same while other lines of the file change."""
        was, becomes = (" ".join(text.split()) for text in (self.was, self.becomes))
        again = f" (no. {self.number})" if self.number > 1 else ""
        return f"{self.path} {self.place or '-'}: {was} -> {becomes}{again}"

    def apply(self, source: bytes) -> bytes:
        """The file with the fault in it."""
        return source[: self.start] + self.becomes.encode() + source[self.end :]

    def line(self, source: bytes) -> int:
        """The line it begins in, from 1."""
        return source.count(b"\n", 0, self.start) + 1

    def difference(self, source: bytes) -> str:
        """The lines it changes, before and after."""
        before, after = source.decode(), self.apply(source).decode()
        lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
        return "\n".join(line for line in lines if line[:3] not in ("---", "+++", "@@ "))


def faults(path: str, source: bytes) -> list[Fault]:
    """All faults of a file that still compile, in the order of the text."""
    found = sorted(_Finder(path, source).run(), key=lambda fault: (fault.start, fault.becomes))
    numbered, counts = [], dict[str, int]()
    for fault in found:
        counts[fault.key] = counts.get(fault.key, 0) + 1
        numbered.append(Fault(**{**vars(fault), "number": counts[fault.key]}))
    return [fault for fault in numbered if _compiles(fault.apply(source))]


def _compiles(source: bytes) -> bool:
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


class _Finder:
    def __init__(self, path: str, source: bytes) -> None:
        self.path = path
        self.source = source
        self.starts = [0]
        for line in source.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))

    def run(self) -> Iterator[Fault]:
        yield from self._block(ast.parse(self.source), "", frozenset())

    def _block(self, node: ast.AST, place: str, names: frozenset[str]) -> Iterator[Fault]:
        """The faults of the statements below a node."""
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt):
                yield from self._statement(child, place, names)
            elif not isinstance(child, _PARTS_OF_A_STATEMENT):  # handlers and cases
                yield from self._block(child, place, names)

    def _statement(self, node: ast.stmt, place: str, names: frozenset[str]) -> Iterator[Fault]:
        if isinstance(node, ast.Import | ast.ImportFrom | ast.Assert | ast.Global):
            return
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            return
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            here = f"{place}.{node.name}".lstrip(".")
            known = frozenset({node.name}) if node.name[:2] != "__" else names
            lines = (node.lineno, node.body[0].lineno)
            for decorator in node.decorator_list:
                whole = self._span(decorator)
                if not _KEPT_DECORATORS & {ast.unparse(decorator).split(".")[-1]} and not (
                    "dataclass" in ast.unparse(decorator) or "setter" in ast.unparse(decorator)
                ):
                    at = (self.source.rindex(b"@", 0, whole[0]), whole[1])
                    yield self._fault(at, "# (no decorator)", here, lines, known)
                yield from self._expressions(decorator, here, lines, known)
            if isinstance(node, ast.ClassDef):
                yield from self._block(node, here, known)
                return
            for default in [*node.args.defaults, *filter(None, node.args.kw_defaults)]:
                yield from self._expressions(default, here, lines, known)
            yield from self._block(node, here, frozenset())
            return
        if not place or names:  # outside of functions
            targets = (
                node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            )
            own = {target.id for target in targets if isinstance(target, ast.Name)}
            if own & {"__all__"} or _is_type(node):
                return
            names = frozenset(own) | names
        body = getattr(node, "body", None) or getattr(node, "cases", None)
        last = (node.end_lineno or node.lineno) if not body else _first_line(body[0]) - 1
        lines = (node.lineno, max(node.lineno, last))
        yield from self._removed(node, place, lines, names)
        if isinstance(node, ast.Raise):
            return
        if isinstance(node, ast.If | ast.While):
            yield from self._negated(node.test, place, lines, names)
        for field, value in ast.iter_fields(node):
            if field == "annotation":
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.expr | ast.withitem):
                    yield from self._expressions(child, place, lines, names)
        yield from self._block(node, place, names)

    def _removed(
        self, node: ast.stmt, place: str, lines: tuple[int, int], names: frozenset[str]
    ) -> Iterator[Fault]:
        useful = isinstance(node, ast.AugAssign | ast.Raise | ast.Delete | ast.Continue) or (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Call | ast.Yield | ast.YieldFrom | ast.Await)
        )
        if isinstance(node, ast.Assign):
            useful = not any(
                isinstance(part, ast.Name)
                for part in ast.walk(node.targets[0])
                if isinstance(getattr(part, "ctx", None), ast.Store)
            )
        if useful:
            yield self._fault(self._span(node), "pass", place, lines, names)
        if isinstance(node, ast.With):
            for item in node.items:
                if item.optional_vars is None:
                    nothing = '__import__("contextlib").nullcontext()'
                    span = self._span(item.context_expr)
                    yield self._fault(span, nothing, place, lines, names)

    def _negated(
        self, test: ast.expr, place: str, lines: tuple[int, int], names: frozenset[str]
    ) -> Iterator[Fault]:
        """A condition turned round, unless one of its operators can be."""
        if not isinstance(test, ast.Compare | ast.BoolOp | ast.UnaryOp | ast.Constant):
            yield self._fault(self._span(test), f"not ({ast.unparse(test)})", place, lines, names)

    def _expressions(
        self, node: ast.AST, place: str, lines: tuple[int, int], names: frozenset[str]
    ) -> Iterator[Fault]:
        if isinstance(node, ast.JoinedStr):  # a text for people
            return
        if isinstance(node, ast.IfExp):
            yield from self._negated(node.test, place, lines, names)
        if isinstance(node, ast.comprehension):
            for test in node.ifs:
                yield from self._negated(test, place, lines, names)
        if isinstance(node, ast.expr):
            for other in _others(node):
                yield self._fault(self._span(node), other, place, lines, names)
        for child in ast.iter_child_nodes(node):
            yield from self._expressions(child, place, lines, names)

    def _span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None and node.end_col_offset is not None
        return (
            self.starts[node.lineno - 1] + node.col_offset,
            self.starts[node.end_lineno - 1] + node.end_col_offset,
        )

    def _fault(
        self,
        span: tuple[int, int],
        becomes: str,
        place: str,
        lines: tuple[int, int],
        names: frozenset[str],
    ) -> Fault:
        was = self.source[span[0] : span[1]].decode()
        return Fault(self.path, place, *span, was, becomes, *lines, names)


def _first_line(node: Any) -> int:
    first = getattr(node, "lineno", None) or node.pattern.lineno
    return min([first, *(one.lineno for one in getattr(node, "decorator_list", []))])


def _is_type(node: ast.stmt) -> bool:
    """Whether a statement only gives a type a name."""
    value = getattr(node, "value", None)
    types = {"Literal", "Callable", "Sequence", "Mapping"}
    return isinstance(value, ast.Subscript) and ast.unparse(value.value) in types


def _text(node: ast.expr, **changes: Any) -> str:
    """The source of a node with other fields, in parentheses where it is an operation."""
    text = ast.unparse(type(node)(**{**dict(ast.iter_fields(node)), **changes}))
    operation = isinstance(node, ast.BinOp | ast.BoolOp | ast.Compare | ast.IfExp)
    return f"({text})" if operation else text


def _others(node: ast.expr) -> Iterator[str]:
    """What could stand in a node's place."""
    match node:
        case ast.Compare(ops=ops):
            for at, operator in enumerate(ops):
                for other in _COMPARISONS[type(operator)]:
                    yield _text(node, ops=[*ops[:at], other(), *ops[at + 1 :]])
        case ast.BinOp(op=operator) if type(operator) in _OPERATORS:
            sides = (node.left, node.right)
            texts = any(
                isinstance(side, ast.JoinedStr | ast.List | ast.Tuple)
                or (isinstance(side, ast.Constant) and isinstance(side.value, str | bytes))
                for side in sides
            )
            if not texts:  # These can only be added.
                yield _text(node, op=_OPERATORS[type(operator)]())
        case ast.BoolOp(op=operator):
            yield _text(node, op=ast.Or() if isinstance(operator, ast.And) else ast.And())
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield f"({ast.unparse(node.operand)})"
        case ast.IfExp(body=body, orelse=orelse):
            if isinstance(node.test, ast.Constant):
                yield _text(node, body=orelse, orelse=body)
        case ast.Constant(value=bool() as value):
            yield str(not value)
        case ast.Constant(value=int() as value):
            yield str(value + 1)
        case ast.Constant(value=float() as value):
            yield repr(value * 2 or 1.0)
        case ast.Constant(value=str() as value) if _WORD.fullmatch(value):
            yield repr(value + "_")
        case ast.Slice(lower=lower, upper=upper):
            for field, bound in (("lower", lower), ("upper", upper)):
                if bound is not None:
                    yield _text(node, **{field: None})
        case ast.Call(func=function, args=args, keywords=keywords):
            for at, keyword in enumerate(keywords):
                if keyword.arg is not None:
                    yield _text(node, keywords=[*keywords[:at], *keywords[at + 1 :]])
            fixed = any(isinstance(one, ast.Starred) for one in args[:2])
            fixed = fixed or ast.unparse(function) in {"max", "min"}  # in any order the same
            if len(args) > 1 and not fixed and ast.unparse(args[0]) != ast.unparse(args[1]):
                yield _text(node, args=[args[1], args[0], *args[2:]])
            if isinstance(function, ast.Attribute) and not args and not keywords:
                yield ast.unparse(function.value)
