//! Tables of text, as Markdown has them.

use comfy_table::{CellAlignment, Row, Table, presets};

/// A table without a line feed at its end; the columns of these numbers, counted from 0, stand to the right.
pub fn text_table<R: Into<Row>>(
    heads: impl Into<Row>,
    lines: impl IntoIterator<Item = R>,
    right: impl IntoIterator<Item = usize>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(heads).add_rows(lines);
    for number in right {
        if let Some(column) = table.column_mut(number) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}
