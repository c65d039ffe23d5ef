"""Turns measured figures into a Markdown page and a plot (SVG, written by hand: no library needed)."""
import datetime

UNITS = {"records_per_s": "records/s", "mb_per_s": "MB/s", "server_cpu_s_per_gb": "server CPU s per GB",
         "server_rss_peak_kb": "server memory peak, MB", "p50_ms": "p50 ms", "p99_ms": "p99 ms",
         "p999_ms": "p99.9 ms", "server_cores": "server cores"}
BETTER_HIGH = {"records_per_s", "mb_per_s"}


def show(figure, value):
    if figure == "server_rss_peak_kb":
        return f"{value / 1024:.0f}"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def cell(figure, spread):
    middle, low, high = spread
    text = show(figure, middle)
    return text if low == high else f"{text} [{show(figure, low)}..{show(figure, high)}]"


def ratio(ours, theirs):
    return ours / theirs if theirs else 0.0


def table(result, titles):
    names = list(result)
    peers = len(names) > 1
    lines = ["| load | figure | " + " | ".join(names) + (" | ratio |" if peers else " |"),
             "|---|---|" + "---|" * (len(names) + peers)]
    for load, title in titles.items():
        for figure in result[names[0]][load]:
            cells = [cell(figure, result[name][load][figure]) for name in names]
            if peers:
                cells.append(f"{ratio(result[names[0]][load][figure][0], result[names[1]][load][figure][0]):.2f}")
            lines.append(f"| {title} | {UNITS[figure]} | " + " | ".join(cells) + " |")
    return lines


def markdown(machine, result, titles, ready_s):
    lines = ["Machine, in the same run: " + ", ".join(
        f"{label} {machine[key]:,.4g} {unit}" for key, label, unit in [
            ("memcpy_mb_s", "memcpy", "MB/s"), ("crc32c_mb_s", "CRC32C", "MB/s"),
            ("loopback_mb_s", "loopback", "MB/s"), ("sync_4k_p50_ms", "write + fdatasync of 4 KiB", "ms"),
            ("sync_1m_mb_s", "of 1 MiB", "MB/s")]) + ".", ""]
    lines += table(result, titles)
    lines += ["", "Ready after: " + ", ".join(f"{name} {s:.2f} s" for name, s in ready_s.items()) + "."]
    return "\n".join(lines)


def bars(result, titles):
    """One bar a load and figure: ours as a share of theirs, better always to the right."""
    (_, ours), (_, theirs) = result.items()
    rows = []
    for load, title in titles.items():
        for figure in ("mb_per_s", "server_cpu_s_per_gb", "p99_ms"):
            if figure in ours[load] and theirs[load][figure][0] and ours[load][figure][0]:
                r = ratio(ours[load][figure][0], theirs[load][figure][0])
                rows.append((f"{title}: {UNITS[figure]}", r if figure in BETTER_HIGH else 1 / r))
    return rows


def svg(result, titles):
    rows, left, scale, step = bars(result, titles), 430, 60, 26
    most = max([1.0] + [value for _, value in rows])
    scale = min(scale, 480 / most)
    height, width = len(rows) * step + 60, left + int(most * scale) + 90
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
           'font-size="13">', f'<rect width="{width}" height="{height}" fill="#fff"/>',
           f'<text x="10" y="22" font-weight="bold">Sluice against {list(result)[1]}: times better (line: equal)</text>']
    for i, (label, value) in enumerate(rows):
        y = 40 + i * step
        colour = "#2f7d5b" if value >= 1 else "#b5483a"
        out.append(f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{label}</text>'
                   f'<rect x="{left}" y="{y}" width="{max(1, value * scale):.0f}" height="18" fill="{colour}"/>'
                   f'<text x="{left + value * scale + 6:.0f}" y="{y + 14}">{value:.2f}x</text>')
    out.append(f'<line x1="{left + scale:.0f}" x2="{left + scale:.0f}" y1="34" y2="{height - 14}" stroke="#333" '
               'stroke-dasharray="4 3"/></svg>')
    return "\n".join(out) + "\n"


def write(docs, text, result, titles, command):
    """docs/performance.md between its marks, and docs/performance.svg."""
    docs.mkdir(exist_ok=True)
    page = docs / "performance.md"
    begin, end = "<!-- measured -->", "<!-- /measured -->"
    old = page.read_text() if page.exists() else f"# Performance\n\n{begin}\n{end}\n"
    head, rest = old.split(begin, 1)
    tail = rest.split(end, 1)[1]
    date = datetime.date.today().isoformat()
    page.write_text(f"{head}{begin}\nMeasured {date} by `{command}`.\n\n{text}\n\n"
                    f"![ratios](performance.svg)\n{end}{tail}")
    (docs / "performance.svg").write_text(svg(result, titles))
    print(f"wrote {page} and performance.svg")
