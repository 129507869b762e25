//! Columns as the original pads them.

/// A column: its title, its width, and which side its values stand on.
#[derive(Debug, Clone, Copy)]
pub struct Column(pub &'static str, pub usize, pub Side);

/// Where a value stands in its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Padded on the right.
    Left,
    /// Padded on the left.
    Right,
}

/// One line: values in their columns, with `gap` blanks between them.
pub fn row<S: AsRef<str>>(columns: &[(usize, Side)], values: &[S], gap: usize) -> String {
    let cells = columns.iter().zip(values).map(|((width, side), value)| match side {
        Side::Left => format!("{:<width$}", value.as_ref()),
        Side::Right => format!("{:>width$}", value.as_ref()),
    });
    cells.collect::<Vec<_>>().join(&" ".repeat(gap))
}

/// The title line of columns.
pub fn titles(columns: &[Column], gap: usize) -> String {
    let sides: Vec<_> = columns.iter().map(|column| (column.1, column.2)).collect();
    let names: Vec<_> = columns.iter().map(|column| column.0).collect();
    row(&sides, &names, gap)
}

/// The value line of columns.
pub fn values<S: AsRef<str>>(columns: &[Column], values: &[S], gap: usize) -> String {
    let sides: Vec<_> = columns.iter().map(|column| (column.1, column.2)).collect();
    row(&sides, values, gap)
}
