"""What a browser's test looks at on every screen of the page of `seed chat --web`."""

from __future__ import annotations

FAINT = """() => {
    const canvas = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
    const paint = (color) => { canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); };
    const light = () => {
        const linear = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map((value) =>
            value <= 10 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
    };
    const faint = [];
    for (const each of document.querySelectorAll("body *")) {
        const own = [...each.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
        if (!own || !each.checkVisibility() || each.closest(":disabled, script, style")) continue;
        paint("white");
        const around = [];
        for (let outer = each; outer; outer = outer.parentElement) around.unshift(outer);
        for (const outer of around) paint(getComputedStyle(outer).backgroundColor);
        const under = light();
        paint(getComputedStyle(each).color);
        const [dark, bright] = [under, light()].sort((one, other) => one - other);
        const contrast = (bright + 0.05) / (dark + 0.05);
        if (contrast < 4.5) faint.push(`${contrast.toFixed(2)}: ${each.outerHTML.slice(0, 200)}`);
    }
    return faint;
}"""  # below 4.5 text is hard to read: WCAG 2.2, 1.4.3


def look_at(page, *, one_screen: bool = False) -> None:
    """What holds of every screen; of `one_screen` nothing is out of sight, save older messages."""
    page.wait_for_timeout(200)
    size = page.viewport_size
    root = "document.documentElement"
    assert page.evaluate(f"{root}.scrollWidth") <= size["width"], "wider than the screen"
    if one_screen:
        assert page.evaluate(f"{root}.scrollHeight") <= size["height"], "higher than the screen"
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('button, a, input, textarea, img')]
            .filter(each => each.checkVisibility())
            .filter(each => !(each.innerText || each.ariaLabel || each.alt || each.title
                || each.labels?.length))
            .map(each => each.outerHTML)"""
    )
    assert nameless == []
    assert page.evaluate(FAINT) == []


def in_sight(page, locator) -> bool:
    """All of it is on the screen as that is scrolled now."""
    box = locator.bounding_box()
    return box["y"] >= 0 and box["y"] + box["height"] <= page.viewport_size["height"]
