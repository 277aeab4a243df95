"""What the page says of links to a set of symbols, in both languages; see `maml.demo.strings`."""

from __future__ import annotations

from maml.sessions.document import Language

_EN = {
    "copy_link": "Copy link",
    "link": "Link",
    "link_copied": "Link copied",
    "link_to_copy": "Copy this link",
    "link_note": "The drawings are in the link itself, after the #: browsers send that part to no "
    "server. Whoever has the link can see them.",
    "link_without_pictures": "Pictures left out: {count}. A link holds drawn strokes only; a saved "
    "file holds pictures too.",
    "link_code": "QR code of this set",
    "link_scan": "Scan it to open the set on another device.",
    "no_code": "This set is too large for a QR code.",
    "no_code_now": "The QR code could not be made: no connection.",
    "no_link": "No link for this set",
    "link_too_long": "This set is too large for a link: it would take {found} characters, and "
    "{most} fit. Save it as a file instead.",
    "no_strokes": "A link holds drawn strokes only, and this set has none. Save it as a "
    "file instead.",
    "offered": "A shared set",
    "offered_note": "Symbols: {symbols}, drawings: {drawings}. They replace those on this page; "
    "Undo brings yours back.",
    "take_offered": "Open the set",
    "leave_offered": "Not now",
    "opened_shared": "Shared set opened. Undo brings the earlier symbols back.",
    "preview_alt": "Runes that were drawn once each, and a new drawing that is named while it is "
    "drawn.",
    "bad_link": "This link holds no set that can be read: it was cut off or changed. Ask for it "
    "again, or for the file.",
    "newer_link": "This link was made by a newer version of this page. Reload the page, then open "
    "the link again.",
}

_ZH = {
    "copy_link": "复制链接",
    "link": "链接",
    "link_copied": "链接已复制",
    "link_to_copy": "请复制此链接",
    "link_note": "画就在链接的 # 之后，浏览器不会把这部分发给任何服务器。"
    "拿到链接的人都能看到这些画。",
    "link_without_pictures": "未包含 {count} 张图片：链接只能容纳手绘的笔画，"
    "保存的文件则可包含图片。",
    "link_code": "此符号集的二维码",
    "link_scan": "用另一台设备扫码即可打开。",
    "no_code": "这个符号集太大，无法生成二维码。",
    "no_code_now": "连接中断，无法生成二维码。",
    "no_link": "无法生成链接",
    "link_too_long": "这个符号集太大，放不进链接：需要 {found} 个字符，最多 {most} 个。"
    "请改为保存成文件。",
    "no_strokes": "链接只能容纳手绘的笔画，而这个符号集没有笔画。请改为保存成文件。",
    "offered": "收到一组分享的符号",
    "offered_note": "共 {symbols} 个符号、{drawings} 幅画。打开后将替换本页的符号，撤销可找回。",
    "take_offered": "打开",
    "leave_offered": "暂不打开",
    "opened_shared": "已打开分享的符号集。撤销可找回之前的符号。",
    "preview_alt": "每个符文只画一次，新画的符文随即被认出。",
    "bad_link": "无法读取此链接中的符号集：链接不完整或被改动过。请让对方重新发送链接或文件。",
    "newer_link": "此链接由更新版本的页面生成。请刷新本页后再打开链接。",
}

SHARE_STRINGS: dict[Language, dict[str, str]] = {"en": _EN, "zh": _ZH}
"""Texts by language and key."""
