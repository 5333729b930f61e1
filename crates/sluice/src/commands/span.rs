//! Spans of time in words, for people: rounded up, so that nothing is announced too early.

/// From this many of a unit on, the next unit says enough.
const STEPS: [(u64, u64, &str); 4] = [
    (120_000, 1000, "s"),
    (7_200_000, 60_000, "min"),
    (172_800_000, 3_600_000, "h"),
    (u64::MAX, 86_400_000, "d"),
];

/// So many milliseconds: `250ms`, `4.2s`, `90s`, `25min`, `30h`, `12d`.
pub(crate) fn span(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms}ms"),
        1000..10_000 => {
            let tenths = ms.div_ceil(100);
            format!("{}.{}s", tenths / 10, tenths % 10)
        }
        _ => {
            let (_, unit_ms, word) = STEPS.into_iter().find(|(below, ..)| ms < *below).unwrap_or(STEPS[3]);
            format!("{}{word}", ms.div_ceil(unit_ms))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_one_unit_and_is_never_too_short() {
        for (ms, text) in [
            (0, "0ms"),
            (999, "999ms"),
            (1000, "1.0s"),
            (4101, "4.2s"),
            (10_001, "11s"),
            (119_999, "120s"),
            (120_000, "2min"),
            (7_200_001, "3h"),
            (172_800_000, "2d"),
            (u64::MAX, "213503982335d"),
        ] {
            assert_eq!(span(ms), text, "{ms}");
        }
    }
}
