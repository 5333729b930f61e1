//! Keys from the environment: `SLUICE__ESP__0__API_KEY` is `esp[0].api_key`.

use std::collections::BTreeMap;

use toml::{Table, Value};

use crate::fault::ConfigFault;

/// How the variables begin; pairs with other names are left alone.
pub const VARIABLE_PREFIX: &str = "SLUICE__";

/// Deepest key path, so that a hostile variable name cannot build an endless nest.
const DEPTH_MAX: usize = 8;
/// What is under this goes by names, which may be numbers: 163.com is a provider.
const NAMED: &str = "groups";

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Index(usize),
    Key(String),
}

/// Puts every variable's text into `root`, as a text. Returns which variable set which key path.
pub(crate) fn apply(
    root: &mut Table,
    overlay: &[(String, String)],
    faults: &mut Vec<ConfigFault>,
) -> BTreeMap<String, String> {
    let mut settings = Vec::new();
    for (variable, text) in overlay.iter().filter(|(variable, _)| variable.starts_with(VARIABLE_PREFIX)) {
        match steps(variable) {
            Some(steps) => settings.push((steps, variable, text)),
            None => faults.push(ConfigFault {
                key: variable.clone(),
                detail: "is not of the form SLUICE__SECTION__KEY".to_owned(),
            }),
        }
    }
    // In order of the path, so that entry 0 of a list is there before entry 1.
    settings.sort_by(|(a, ..), (b, ..)| a.cmp(b));
    let mut variables = BTreeMap::new();
    for (steps, variable, text) in settings {
        match put(root, &steps, text, &variables) {
            Ok(()) => {
                variables.insert(path_of(&steps), variable.clone());
            }
            Err(detail) => faults.push(ConfigFault { key: variable.clone(), detail }),
        }
    }
    variables
}

fn steps(variable: &str) -> Option<Vec<Step>> {
    let words = variable.strip_prefix(VARIABLE_PREFIX)?.split("__");
    let mut is_name = false;
    let steps: Option<Vec<Step>> = words
        .take(DEPTH_MAX + 1)
        .map(|word| {
            let is_number = !std::mem::replace(&mut is_name, word.eq_ignore_ascii_case(NAMED));
            match word.parse() {
                _ if word.is_empty() => None,
                Ok(index) if is_number => Some(Step::Index(index)),
                _ => Some(Step::Key(word.to_ascii_lowercase())),
            }
        })
        .collect();
    steps.filter(|steps| steps.len() <= DEPTH_MAX && matches!(steps.first(), Some(Step::Key(_))))
}

fn path_of(steps: &[Step]) -> String {
    let mut path = String::new();
    for step in steps {
        match step {
            Step::Index(index) => path.push_str(&format!("[{index}]")),
            Step::Key(key) if path.is_empty() => path.push_str(key),
            Step::Key(key) => path.push_str(&format!(".{key}")),
        }
    }
    path
}

fn put(
    root: &mut Table,
    steps: &[Step],
    text: &str,
    variables: &BTreeMap<String, String>,
) -> Result<(), String> {
    let Some((Step::Key(first), rest)) = steps.split_first() else {
        return Err("is not of the form SLUICE__SECTION__KEY".to_owned());
    };
    let mut place = root.entry(first.clone()).or_insert_with(|| container(rest));
    let mut walked = first.clone();
    for (at, step) in rest.iter().enumerate() {
        let beneath = rest.get(at + 1..).unwrap_or_default();
        place = match (step, place) {
            (Step::Key(key), Value::Table(table)) => {
                if beneath.is_empty() {
                    drop_twin(table, key, &walked, variables);
                }
                walked.push_str(&format!(".{key}"));
                table.entry(key.clone()).or_insert_with(|| container(beneath))
            }
            (Step::Index(index), Value::Array(items)) => {
                let len = items.len();
                if *index == len {
                    items.push(container(beneath));
                }
                walked.push_str(&format!("[{index}]"));
                items.get_mut(*index).ok_or_else(|| {
                    format!("there are {len} entries before it, so the next one is number {len}")
                })?
            }
            (Step::Key(_), _) => return Err(format!("`{walked}` is not a section")),
            (Step::Index(_), _) => return Err(format!("`{walked}` is not a list")),
        };
    }
    *place = Value::String(text.to_owned());
    Ok(())
}

/// What must be there for the next step.
fn container(beneath: &[Step]) -> Value {
    match beneath.first() {
        Some(Step::Key(_)) => Value::Table(Table::new()),
        Some(Step::Index(_)) => Value::Array(Vec::new()),
        None => Value::String(String::new()),
    }
}

/// A variable that sets `url` wins over the text's `url_file`, and the other way round.
fn drop_twin(table: &mut Table, key: &str, walked: &str, variables: &BTreeMap<String, String>) {
    let twin = key.strip_suffix("_file").map_or_else(|| format!("{key}_file"), str::to_owned);
    if !variables.contains_key(&format!("{walked}.{twin}")) {
        table.remove(&twin);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(toml: &str, overlay: &[(&str, &str)], expected: &str) {
        let mut root: Table = toml.parse().unwrap();
        let overlay: Vec<_> =
            overlay.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect();
        let mut faults = Vec::new();
        apply(&mut root, &overlay, &mut faults);
        assert_eq!(faults, [], "{overlay:?}");
        assert_eq!(root, expected.parse().unwrap(), "{overlay:?}");
    }

    #[test]
    fn variables_win_over_the_text() {
        check("", &[("SLUICE__QUEUE__URL", "amqp://x")], "queue.url = 'amqp://x'");
        check("log.filter = 'info'", &[("SLUICE__LOG__FILTER", "debug")], "log.filter = 'debug'");
        check("queue.url_file = '/x'", &[("SLUICE__QUEUE__URL", "u")], "queue.url = 'u'");
        check("queue.url = 'u'", &[("SLUICE__QUEUE__URL_FILE", "/x")], "queue.url_file = '/x'");
        check(
            "esp = [{ name = 'a' }]",
            &[("SLUICE__ESP__0__LIMITS__0", "1/s"), ("SLUICE__ESP__1__NAME", "b")],
            "esp = [{ name = 'a', limits = ['1/s'] }, { name = 'b' }]",
        );
        check(
            "esp = [{ name = 'a' }]",
            &[("SLUICE__ESP__0__WARMUP__GROUPS__163__CAPS__0", "50")],
            "esp = [{ name = 'a', warmup.groups.163.caps = ['50'] }]",
        );
        check("", &[("SLUICE_CONFIG", "x"), ("PATH", "/bin")], "");
    }

    #[test]
    fn entries_come_in_order_of_their_number() {
        let overlay: Vec<_> =
            (0..12).rev().map(|i| (format!("SLUICE__ESP__{i}__NAME"), format!("e{i}"))).collect();
        let mut root = Table::new();
        let mut faults = Vec::new();
        apply(&mut root, &overlay, &mut faults);
        assert_eq!(faults, []);
        assert_eq!(root["esp"][11]["name"].as_str(), Some("e11"));
    }

    #[test]
    fn a_variable_that_fits_nowhere_is_named() {
        let endless = format!("SLUICE__{}", ["A"; 5000].join("__"));
        for variable in [
            "SLUICE__",
            "SLUICE__QUEUE__",
            "SLUICE____URL",
            "SLUICE__0__URL",
            "SLUICE__ESP__1__NAME",
            "SLUICE__LOG__FILTER__X",
            "SLUICE__LOG__0",
            endless.as_str(),
        ] {
            let mut root: Table = "log.filter = 'info'".parse().unwrap();
            let mut faults = Vec::new();
            apply(&mut root, &[(variable.to_owned(), "x".to_owned())], &mut faults);
            assert_eq!(faults.len(), 1, "{variable}");
            assert_eq!(faults[0].key, variable);
        }
    }
}
