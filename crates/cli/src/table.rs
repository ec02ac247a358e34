//! Tables for people: columns aligned, and written while rows still come.

use unicode_width::UnicodeWidthStr as _;

use crate::{
    failure::Outcome,
    terminal::{Out, shown},
};

/// Columns are as wide as the widest of so many first rows; a later cell that is wider moves its own row only.
const MEASURED: usize = 1000;
/// Blanks between two columns.
const GAP: usize = 2;

/// A table that is being written.
pub(crate) struct Table {
    columns: Vec<Column>,
    waiting: Vec<Vec<String>>,
    measured: bool,
}

/// One column of a table.
pub(crate) struct Column {
    name: &'static str,
    right: bool,
    width: usize,
}

impl Column {
    /// Words, aligned to the left.
    pub(crate) fn left(name: &'static str) -> Self {
        Self { name, right: false, width: 0 }
    }

    /// Numbers, aligned to the right.
    pub(crate) fn right(name: &'static str) -> Self {
        Self { name, right: true, width: 0 }
    }
}

impl Table {
    pub(crate) fn new(columns: impl IntoIterator<Item = Column>) -> Self {
        Self { columns: columns.into_iter().collect(), waiting: Vec::new(), measured: false }
    }

    /// Adds a row, which has a cell for every column.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>, out: &mut Out) -> Outcome {
        let cells: Vec<String> = cells.into_iter().map(|cell| shown(&cell)).collect();
        if self.measured {
            return out.line(self.aligned(&cells));
        }
        self.waiting.push(cells);
        if self.waiting.len() < MEASURED { Ok(()) } else { self.finish(out) }
    }

    /// Writes what waits.
    pub(crate) fn finish(&mut self, out: &mut Out) -> Outcome {
        if self.measured {
            return Ok(());
        }
        self.measured = true;
        let rows = std::mem::take(&mut self.waiting);
        for (at, column) in self.columns.iter_mut().enumerate() {
            let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.width());
            column.width = cells.chain([column.name.width()]).max().unwrap_or_default();
        }
        if rows.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = self.columns.iter().map(|column| column.name.to_owned()).collect();
        out.heading(self.aligned(&names))?;
        rows.iter().try_for_each(|row| out.line(self.aligned(row)))
    }

    fn aligned(&self, cells: &[String]) -> String {
        let mut line = String::new();
        for (cell, column) in cells.iter().zip(&self.columns) {
            let blanks = " ".repeat(column.width.saturating_sub(cell.width()));
            let (before, after) = if column.right { (blanks.as_str(), "") } else { ("", blanks.as_str()) };
            line.extend([before, cell, after, &" ".repeat(GAP)]);
        }
        line.trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new([Column::left("WHO"), Column::right("ROWS"), Column::left("WHY")]);
        table.measured = true;
        for (column, width) in table.columns.iter_mut().zip([6, 5, 3]) {
            column.width = width;
        }
        assert_eq!(table.aligned(&["née".to_owned(), "12".to_owned(), String::new()]), "née        12");
        assert_eq!(table.aligned(&["a".to_owned(), "1,234".to_owned(), "b".to_owned()]), "a       1,234  b");
    }
}
