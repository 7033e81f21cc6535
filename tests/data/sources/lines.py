"""Order lines as Online Retail II has them, and spreadsheets to put them in."""

import datetime as dt
import zipfile
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import polars as pl

NAMES = ("Invoice", "StockCode", "Description", "Quantity", "InvoiceDate", "Price", "Customer ID", "Country")
COLUMNS = ("invoice", "stock_code", "description", "quantity", "ts", "unit_price", "customer_id", "country")
TYPES: dict[str, pl.DataType | type[pl.DataType]] = {
    "quantity": pl.Int32,
    "ts": pl.Datetime("us"),
    "unit_price": pl.Float64,
    "customer_id": pl.Int32,
}
Line = tuple[str, str, str | None, int, dt.datetime, float, int | None, str]


def line(
    code: str, quantity: int, day: str, *, price: float = 2.5, customer: int | None = 1, title: str | None = "RED LAMP", invoice: str = "5"
) -> Line:
    when = dt.datetime.fromisoformat(day)
    return (invoice, code, title, quantity, when, price, customer, "United Kingdom")


def frame(lines: Sequence[Line]) -> pl.DataFrame:
    return pl.DataFrame(lines, schema={c: TYPES.get(c, pl.String) for c in COLUMNS}, orient="row")


def write_spreadsheet(path: Path, sheets: Sequence[Sequence[Line]]) -> None:
    """A workbook with a sheet of lines each, its dates as numbers in a date format, as Excel stores them."""
    with zipfile.ZipFile(path, "w") as book:
        names = "".join(f'<sheet name="Year {k}" sheetId="{k + 1}" r:id="rId{k + 1}"/>' for k in range(len(sheets)))
        namespace = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
        relations = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
        book.writestr("xl/workbook.xml", f'<workbook {namespace} xmlns:r="{relations}"><sheets>{names}</sheets></workbook>')
        links = "".join(
            f'<Relationship Id="rId{k + 1}" Type="{relations}/worksheet" Target="worksheets/sheet{k + 1}.xml"/>' for k in range(len(sheets))
        )
        links += f'<Relationship Id="rIdS" Type="{relations}/styles" Target="styles.xml"/>'
        package = "http://schemas.openxmlformats.org/package/2006"
        book.writestr("xl/_rels/workbook.xml.rels", f'<Relationships xmlns="{package}/relationships">{links}</Relationships>')
        formats = '<cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="22"/></cellXfs>'
        book.writestr("xl/styles.xml", f"<styleSheet {namespace}>{formats}</styleSheet>")
        root = f'<Relationship Id="rId1" Type="{relations}/officeDocument" Target="xl/workbook.xml"/>'
        book.writestr("_rels/.rels", f'<Relationships xmlns="{package}/relationships">{root}</Relationships>')
        book.writestr(
            "[Content_Types].xml",
            f'<Types xmlns="{package}/content-types"><Default Extension="xml" ContentType="application/xml"/></Types>',
        )
        for k, lines in enumerate(sheets):
            rows = "".join(f'<row r="{r + 1}">{"".join(map(_cell, row))}</row>' for r, row in enumerate([NAMES, *lines]))
            book.writestr(f"xl/worksheets/sheet{k + 1}.xml", f"<worksheet {namespace}><sheetData>{rows}</sheetData></worksheet>")


def _cell(value: object) -> str:
    if value is None:
        return "<c/>"
    if isinstance(value, dt.datetime):
        return f'<c s="1"><v>{(value - dt.datetime(1899, 12, 30)).total_seconds() / 86400!r}</v></c>'
    if isinstance(value, (int, float)) or (isinstance(value, str) and value.isdigit()):
        return f"<c><v>{value}</v></c>"
    return f'<c t="inlineStr"><is><t>{escape(str(value))}</t></is></c>'
