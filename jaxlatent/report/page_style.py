"""The style sheet of the report page."""

from jaxlatent.report.markup import FONT

PAGE_STYLE = f"""
:root {{ color-scheme: light; }}
* {{ box-sizing: border-box; }}
body {{ margin: 0; background: #eef1f4; color: #1f2933; font: 15px/1.5 {FONT}; }}
main {{ max-width: 1040px; margin: 0 auto; padding: 28px 20px 40px; }}
header h1 {{ margin: 0; font-size: 1.7em; font-weight: 650; overflow-wrap: anywhere; }}
header p {{ margin: .2em 0 1.2em; color: #5a6672; }}
section {{ background: #fff; border: 1px solid #dde2e7; border-radius: 8px; padding: 18px 22px; margin: 0 0 16px; }}
section > h2 {{ margin: 0 0 .6em; font-size: 1.12em; }}
section h3 {{ margin: 1.2em 0 .3em; font-size: 1em; }}
p.hint, p.source {{ color: #5a6672; font-size: .87em; margin: .3em 0 .8em; max-width: 75ch; }}
p.source {{ margin: 1em 0 0; }}
.warnings {{ border-left: 5px solid #d55e00; background: #fdf3ec; }}
.warnings ul {{ margin: 0; padding-left: 1.2em; }}
.tiles {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 12px; }}
.tile {{ border: 1px solid #dde2e7; border-top: 4px solid #8a95a1; border-radius: 6px; padding: 10px 14px; }}
.tile.met {{ border-top-color: #0072b2; }}
.tile.missed {{ border-top-color: #d55e00; }}
.tile .name {{ font-size: .85em; color: #5a6672; }}
.tile .value {{ font-size: 1.35em; font-weight: 600; font-variant-numeric: tabular-nums; }}
.tile .detail {{ font-size: .87em; }}
.tile .convention {{ font-size: .82em; color: #5a6672; margin-top: .4em; }}
.picture {{ text-align: center; overflow-x: auto; }}
svg {{ max-width: 100%; height: auto; }}
.scroll {{ overflow-x: auto; }}
table.frame {{ border-collapse: collapse; font-size: .9em; font-variant-numeric: tabular-nums; }}
table.frame th, table.frame td {{ padding: .18em .8em; text-align: right; white-space: nowrap; }}
table.frame thead th {{ font-weight: 500; color: #5a6672; border-bottom: 1px solid #b6bfc8; }}
table.frame td.text {{ text-align: left; }}
table.frame tbody tr:nth-child(even) {{ background: #f6f8f9; }}
.jxl {{ max-width: none; overflow-x: auto; }}
.columns {{ columns: 2 24em; column-gap: 2em; }}
.columns table {{ break-inside: avoid; margin: 0 0 1em; }}
footer {{ color: #5a6672; font-size: .87em; }}
code {{ background: #eef1f4; padding: .1em .3em; border-radius: 3px; overflow-wrap: anywhere; }}
@media print {{
  body {{ background: #fff; font-size: 10.5pt; }}
  main {{ max-width: none; padding: 0; }}
  section {{ border: 0; border-radius: 0; padding: 0; margin: 0 0 14pt; }}
  .tile, .picture, tr, svg {{ break-inside: avoid; }}
  section > h2, caption {{ break-after: avoid; }}
  .tiles {{ grid-template-columns: repeat(4, 1fr); }}
}}
""".strip()
