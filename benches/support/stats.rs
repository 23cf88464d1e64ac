//! Medians, percentiles, and tables of them.

/// The middle of `values`; not a number if there are none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        even if even % 2 == 0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    }
}

/// What `permille` of a sorted list lie at or below; 0 if it is empty.
pub fn percentile(sorted: &[u32], permille: usize) -> u32 {
    let at = (sorted.len() * permille).div_ceil(1000).saturating_sub(1);
    sorted.get(at).copied().unwrap_or(0)
}

/// A number with as many digits as it deserves; `-` for none.
pub fn figure(value: f64) -> String {
    match value.abs() {
        _ if value.is_nan() => "-".to_owned(),
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        0.0 => "0".to_owned(),
        _ => format!("{value:.2}"),
    }
}

/// Prints one row: a name, then right-aligned cells.
pub fn row(name: &str, cells: &[String]) {
    let cells: Vec<_> = cells.iter().map(|cell| format!("{cell:>11}")).collect();
    println!("{name:<52}{}", cells.join(" "));
}

/// Prints a row of headings.
pub fn heading(name: &str, columns: &[&str]) {
    println!();
    row(name, &columns.iter().map(ToString::to_string).collect::<Vec<_>>());
}

/// Prints a row of figures.
pub fn figures(name: &str, values: &[f64]) {
    row(name, &values.iter().copied().map(figure).collect::<Vec<_>>());
}
