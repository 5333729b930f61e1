//! Batch sizes and counts, out of a worker's `/metrics`.

/// Rows of a batched write, on average.
pub(crate) fn mean_rows(pages: &[String], batch: &str) -> Option<f64> {
    let sum = |field: &str| -> f64 {
        let wanted = format!("sluice_batch_rows_{field}{{batch=\"{batch}\"}} ");
        let values = pages.iter().flat_map(|page| page.lines());
        values.filter_map(|line| line.strip_prefix(&wanted)?.trim().parse::<f64>().ok()).sum()
    };
    let batches = sum("count");
    (batches > 0.0).then(|| sum("sum") / batches)
}

/// A count without labels.
pub(crate) fn value(page: &str, name: &str) -> Option<usize> {
    page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_of_all_replicas_are_added_up() {
        let page = |sum: u32, count: u32| {
            format!(
                "sluice_batch_rows_sum{{batch=\"claim\"}} {sum}\nsluice_batch_rows_count{{batch=\"claim\"}} {count}\n"
            )
        };
        assert_eq!(mean_rows(&[page(100, 4), page(20, 2)], "claim"), Some(20.0));
        assert_eq!(mean_rows(&[page(100, 4)], "record"), None);
        assert_eq!(mean_rows(&[], "claim"), None);
    }

    #[test]
    fn a_count_is_found_by_its_whole_name() {
        let page = "# TYPE a_total counter\na_total_more 3\na_total 7\n";
        assert_eq!(value(page, "a_total"), Some(7));
        assert_eq!(value(page, "a"), None);
    }
}
