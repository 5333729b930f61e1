use proptest::prelude::*;

use super::*;
use crate::{Config, ConfigFaults};

fn load(warmup: &str) -> Result<Config, ConfigFaults> {
    Config::load(&format!("[[esp]]\nname = 'a'\nkind = 'sandbox'\n{warmup}\n"), &[], &|_| {
        Err("there are no files here".to_owned())
    })
}

fn ramp(keys: &str) -> Warmup {
    load(&format!("[esp.warmup]\n{keys}")).expect(keys).esps[0].warmup.clone().expect(keys)
}

/// Asserts the faults' keys beneath `esp[0].warmup` in order, and that each detail holds the words.
fn check(warmup: &str, expected: &[(&str, &str)]) {
    let faults = load(warmup).expect_err(warmup);
    let keys: Vec<_> =
        faults.0.iter().map(|fault| fault.key.strip_prefix("esp[0].warmup").expect(&fault.key)).collect();
    assert_eq!(keys, expected.iter().map(|(key, _)| *key).collect::<Vec<_>>(), "{warmup}\n{faults}");
    for (fault, (_, words)) in faults.0.iter().zip(expected) {
        assert!(fault.detail.contains(words), "{warmup}\n{fault}\nlacks {words:?}");
    }
}

#[test]
fn an_esp_is_warm_unless_it_says_otherwise() {
    assert_eq!(load("").unwrap().esps[0].warmup, None);
    assert_eq!(Config::default().esps[0].warmup, None);
}

#[test]
fn a_ramp_comes_from_a_preset_a_list_or_a_formula() {
    assert_eq!(ramp("preset = 'sparkpost'").caps[..3], [200, 500, 1000]);
    assert_eq!(ramp("preset = 'sendgrid'").caps[..3], [50, 100, 250]);
    assert_eq!(ramp("preset = 'sendgrid-automated'").caps[..3], [480, 672, 936]);
    assert_eq!(ramp("caps = [1, 1, 100000000]").caps, [1, 1, COUNT_MAX]);
    assert_eq!(ramp("first = 100\ngrowth = 1.1\ncap = 130").caps, [100, 110, 121, 130]);
    assert_eq!(ramp("first = 1\ngrowth = 1.5\ncap = 2").caps, [1, 2]);
    assert_eq!(ramp("first = 5\ngrowth = 10\ncap = 5").caps, [5]);
    let caps = format!("caps = {:?}", vec![7; DAYS_MAX]);
    assert_eq!(ramp(&caps).caps.len(), DAYS_MAX);
}

#[test]
fn a_ramp_is_held_above_a_share() {
    for (line, expected) in
        [("", 0.05), ("hold_above = 0.2", 0.2), ("hold_above = 0", 0.0), ("hold_above = 1", 1.0)]
    {
        let found = ramp(&format!("caps = [1]\n{line}")).hold_above;
        assert!((found - expected).abs() < f64::EPSILON, "{line}");
    }
}

#[test]
fn a_group_has_a_ramp_of_its_own() {
    let warmup = ramp(
        "preset = 'sendgrid'\nhold_above = 0.1\n\
         [esp.warmup.groups.gmail]\ncaps = [10, 20]\n\
         [esp.warmup.groups.other]\nfirst = 1\ngrowth = 2\ncap = 4\nhold_above = 0.3",
    );
    let groups: Vec<_> = warmup
        .groups
        .iter()
        .map(|(name, ramp)| (name.as_str(), ramp.caps.as_slice(), ramp.hold_above))
        .collect();
    assert_eq!(groups, [("gmail", &[10, 20][..], 0.05), ("other", &[1, 2, 4], 0.3)]);
}

#[test]
fn a_group_must_be_there() {
    check(
        "[esp.warmup]\ncaps = [1]\n[esp.warmup.groups.gmx]\ncaps = [1]\n[esp.warmup.groups.'a b']\ncaps = []",
        &[
            (".groups.\"a b\"", "a-z 0-9"),
            (".groups.\"a b\".caps", "1 to 400 entries"),
            (".groups.gmx", "no domain group with the name `gmx`"),
        ],
    );
    let gmx = "[esp.warmup]\ncaps = [1]\n[esp.warmup.groups.gmx]\ncaps = [1]\n\
               [[domain_group]]\nname = 'gmx'\ndomains = ['gmx.net']";
    assert!(load(gmx).is_ok());
    check(&gmx.replace("groups.gmx", "groups.gmail"), &[(".groups.gmail", "no domain group")]);
}

#[test]
fn a_ramp_is_said_in_one_way() {
    check("[esp.warmup]", &[("", "needs `preset`, or `caps`, or `first`")]);
    check("warmup = { hold_above = 0.1 }", &[("", "needs `preset`")]);
    check("[esp.warmup.groups.gmail]\ncaps = [1]", &[("", "needs `preset`")]);
    check("warmup = { preset = 'sendgrid', caps = [1] }", &[(".caps", "`preset` is set too")]);
    check(
        "warmup = { preset = 'sendgrid', caps = [1], first = 1, growth = 2, cap = 3 }",
        &[(".caps", "`preset` is set too"), (".first", "`preset` is set too")],
    );
    check(
        "warmup = { caps = [1], cap = 3 }",
        &[
            (".cap", "`caps` is set too"),
            (".first", "is required with cap"),
            (".growth", "is required with cap"),
        ],
    );
    check("warmup = { first = 1, growth = 2 }", &[(".cap", "is required with first")]);
    check("warmup = { caps = [1], groups = { gmail = {} } }", &[(".groups.gmail", "needs `preset`")]);
    check("warmup = { caps = [1], groups = {} }", &[(".groups", "names no group")]);
}

#[test]
fn numbers_stay_within_their_range() {
    let formula = |first: &str, growth: &str, cap: &str| {
        format!("warmup = {{ first = {first}, growth = {growth}, cap = {cap} }}")
    };
    for growth in ["nan", "inf", "-inf", "-2.0", "0", "1", "1.0", "10.1", "11", "'2'", "99999999999", "[2]"] {
        check(&formula("1", growth, "9"), &[(".growth", "above 1.0 and up to 10.0")]);
    }
    for first in ["0", "-1", "1.5", "nan", "100000001", "9223372036854775807", "'1'"] {
        check(&formula(first, "2", "9"), &[(".first", "from 1 to 100000000")]);
        check(&formula("1", "2", first), &[(".cap", "from 1 to 100000000")]);
    }
    check(&formula("10", "2", "9"), &[(".cap", "must not be below first (10)")]);
    check(&formula("1", "1.0001", "100000000"), &[(".growth", "more than 400 days")]);
    check(&formula("1", "1.0000000000000002", "2"), &[(".growth", "more than 400 days")]);
    for hold_above in ["nan", "inf", "-0.1", "1.1", "2", "true", "'5%'"] {
        check(
            &format!("warmup = {{ caps = [1], hold_above = {hold_above} }}"),
            &[(".hold_above", "from 0.0 to 1.0")],
        );
    }
}

#[test]
fn caps_never_fall() {
    check(
        "warmup.caps = [200, 100, 500, 400]",
        &[(".caps[1]", "the day before (200)"), (".caps[3]", "the day before (500)")],
    );
    check("warmup.caps = []", &[(".caps", "1 to 400 entries")]);
    check(&format!("warmup.caps = {:?}", vec![1; DAYS_MAX + 1]), &[(".caps", "1 to 400 entries")]);
    check(
        "warmup.caps = [0, -1, 1.5, nan, 'x', 100000001, 1, []]",
        &["[0]", "[1]", "[2]", "[3]", "[4]", "[5]", "[7]"]
            .map(|at| format!(".caps{at}"))
            .iter()
            .map(|key| (key.as_str(), "a whole number from 1 to 100000000"))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn what_is_no_warmup_is_named() {
    for value in ["3", "'sendgrid'", "true", "[]", "[{ caps = [1] }]"] {
        check(&format!("warmup = {value}"), &[("", "must be a section")]);
    }
    check("warmup = { preset = 'mailgun' }", &[(".preset", "unknown variant")]);
    check("warmup = { preset = 3 }", &[(".preset", "expected")]);
    check("warmup = { caps = 3 }", &[(".caps", "must be a list of whole numbers, not a whole number")]);
    check("warmup = { caps = [1], groups = [] }", &[(".groups", "must be a section, not a list")]);
    check("warmup = { caps = [1], groups = { gmail = 3 } }", &[(".groups.gmail", "must be a section")]);
    check(
        "warmup = { caps = [1], grwth = 2, groups = { gmail = { caps = [1], day = 1, groups = {} } } }",
        &[
            (".groups.gmail.day", "not a known key; known here: preset, caps, first"),
            (".groups.gmail.groups", "not a known key"),
            (".grwth", "not a known key"),
        ],
    );
}

#[test]
fn variables_reach_into_a_warmup() {
    let overlay = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        let key = |key: &str| format!("SLUICE__ESP__0__{key}");
        pairs.iter().map(|(name, text)| (key(name), (*text).to_owned())).collect()
    };
    let mut variables = overlay(&[
        ("NAME", "a"),
        ("KIND", "sandbox"),
        ("WARMUP__CAPS", "[1, 2]"),
        ("WARMUP__HOLD_ABOVE", "0.1"),
        ("WARMUP__GROUPS__GMAIL__CAPS__0", "5"),
        ("WARMUP__GROUPS__YAHOO", "{ caps = [6] }"),
    ]);
    let config = Config::load("", &variables, &|_| Err(String::new())).unwrap();
    let warmup = config.esps[0].warmup.as_ref().unwrap();
    assert_eq!(warmup.caps, [1, 2]);
    assert_eq!(warmup.groups.values().map(|ramp| ramp.caps.clone()).collect::<Vec<_>>(), [[5], [6]]);
    variables.extend(overlay(&[("WARMUP__PRESET", "sendgrid")]));
    let faults = Config::load("", &variables, &|_| Err(String::new())).unwrap_err();
    assert_eq!(
        faults.to_string(),
        "esp[0].warmup.caps: `preset` is set too; set one of the two (set by SLUICE__ESP__0__WARMUP__CAPS)"
    );
}

proptest! {
    #[test]
    fn any_formula_is_refused_or_a_ramp(first in 1..=COUNT_MAX, growth in 1.0..10.0_f64, more in 0..=COUNT_MAX) {
        let cap = first.saturating_add(more).min(COUNT_MAX);
        if let Some(days) = grow(first, growth, cap) {
            prop_assert!(days.len() <= DAYS_MAX);
            prop_assert!(days.is_sorted());
            prop_assert_eq!(days.first(), Some(&first));
            prop_assert_eq!(days.last(), Some(&cap));
        }
    }

    #[test]
    fn any_warmup_is_refused_or_read(
        key in "preset|caps|first|growth|cap|hold_above|groups|groups\\.gmail|groups\\.gmail\\.caps|x",
        value in "\"\\PC{0,20}\"|-?[0-9]{1,20}|true|\\[\\]|\\[[0-9, -]{0,9}\\]|\\{\\}|1e9|-?(nan|inf)|1979-05-27|\\[\\[1\\]\\]",
    ) {
        match load(&format!("[esp.warmup]\n{key} = {value}")) {
            Ok(config) => prop_assert!(config.esps[0].warmup.as_ref().is_some_and(|it| !it.caps.is_empty())),
            Err(faults) => prop_assert_eq!(faults.to_string().lines().count(), faults.0.len()),
        }
    }
}
