//! Fills a job's templates with its `vars`, within bounds on work and on output.

mod compiled;

use std::io::{self, Write};
use std::sync::LazyLock;

use compiled::Compiler;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use sluice_types::{Job, Refusal, RefusalReason, check_subject};

/// Instructions that each template of a job may spend.
const FUEL: u64 = 200_000;
/// Longest rendered field, in bytes.
const RENDERED_MAX_BYTES: usize = 1024 * 1024;

/// Renders subject, html and text in place; a part that renders to nothing is left out. Does nothing when the job has no `vars`.
///
/// # Errors
/// A refusal that names the field when a template does not compile, uses a value that is not there, runs or writes
/// too much, renders a subject of more than one line, or when nothing is left of the body.
pub(crate) fn render(job: &mut Job) -> Result<(), Refusal> {
    let Some(vars) = job.vars.take() else { return Ok(()) };
    let vars: minijinja::Value = serde_json::from_value(serde_json::Value::Object(vars)).map_err(|_| {
        Refusal::new(RefusalReason::Template, "vars", "has a value that templates cannot use")
    })?;
    job.subject = fill("subject", &job.subject, &vars, &PLAIN)?;
    check_subject(&job.subject)?;
    let field = if job.html.is_some() { "html" } else { "text" };
    job.html = part("html", job.html.as_deref(), &vars, &HTML)?;
    job.text = part("text", job.text.as_deref(), &vars, &PLAIN)?;
    if job.html.is_none() && job.text.is_none() {
        let detail = "html and text both render to nothing";
        return Err(Refusal::new(RefusalReason::Template, field, detail));
    }
    Ok(())
}

/// A part of the body, if there is anything in it: an ESP takes no empty one.
fn part(
    field: &'static str,
    template: Option<&str>,
    vars: &minijinja::Value,
    compiler: &Compiler,
) -> Result<Option<String>, Refusal> {
    let filled = template.map(|template| fill(field, template, vars, compiler)).transpose()?;
    Ok(filled.filter(|filled| !filled.trim().is_empty()))
}

/// Made once: building the filters took a quarter of a worker's time.
static PLAIN: LazyLock<Compiler> = LazyLock::new(|| Compiler::new(environment(AutoEscape::None)));
static HTML: LazyLock<Compiler> = LazyLock::new(|| Compiler::new(environment(AutoEscape::Html)));

fn environment(escape: AutoEscape) -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(50);
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    environment.set_auto_escape_callback(move |_| escape.clone());
    add_builtins(&mut environment);
    environment
}

fn fill(
    field: &'static str,
    template: &str,
    vars: &minijinja::Value,
    compiler: &Compiler,
) -> Result<String, Refusal> {
    if !template.contains("{{") && !template.contains("{%") && !template.contains("{#") {
        return Ok(template.to_owned());
    }
    let mut out = Bounded { bytes: Vec::with_capacity(template.len() + template.len() / 4), full: false };
    let filled = compiler
        .with(template, |compiled| compiled.render_captured_to(vars.clone(), &mut out).map(|_| ()))
        .map_err(|error| refusal(field, "does not compile", &error))?;
    match filled {
        Ok(()) => {}
        Err(_) if out.full => {
            let detail = format!("renders to more than {RENDERED_MAX_BYTES} bytes");
            return Err(Refusal::new(RefusalReason::Template, field, detail));
        }
        Err(error) => return Err(refusal(field, "cannot be rendered", &error)),
    }
    String::from_utf8(out.bytes)
        .map_err(|_| Refusal::new(RefusalReason::Template, field, "renders to no text"))
}

/// The filters and tests that newsletters use. Left out on purpose: whatever can build long texts or lists from
/// short ones (`range`, `indent`, `center`), since fuel counts instructions and not bytes.
fn add_builtins(environment: &mut Environment<'_>) {
    use minijinja::{filters, tests};
    environment.add_filter("upper", filters::upper);
    environment.add_filter("lower", filters::lower);
    environment.add_filter("title", filters::title);
    environment.add_filter("capitalize", filters::capitalize);
    environment.add_filter("trim", filters::trim);
    environment.add_filter("default", filters::default);
    environment.add_filter("escape", filters::escape);
    environment.add_filter("e", filters::escape);
    environment.add_filter("safe", filters::safe);
    environment.add_filter("length", filters::length);
    environment.add_filter("join", filters::join);
    environment.add_filter("first", filters::first);
    environment.add_filter("last", filters::last);
    environment.add_filter("sort", filters::sort);
    environment.add_filter("round", filters::round);
    environment.add_filter("int", filters::int);
    environment.add_filter("float", filters::float);
    environment.add_filter("abs", filters::abs);
    environment.add_test("defined", tests::is_defined);
    environment.add_test("undefined", tests::is_undefined);
    environment.add_test("none", tests::is_none);
    environment.add_test("string", tests::is_string);
    environment.add_test("number", tests::is_number);
}

/// Says what kind of error it is and in which line; never the text of the template or a value.
fn refusal(field: &str, what: &str, error: &minijinja::Error) -> Refusal {
    let line = error.line().map(|line| format!(" (line {line})")).unwrap_or_default();
    Refusal::new(RefusalReason::Template, field, format!("{what}: {}{line}", error.kind()))
}

struct Bounded {
    bytes: Vec<u8>,
    full: bool,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > RENDERED_MAX_BYTES {
            self.full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(subject: &str, html: &str, vars: serde_json::Value) -> Job {
        let body = json!({
            "v": 1, "id": "a", "from": {"email": "a@b.cc"}, "to": {"email": "d@e.ff"},
            "subject": subject, "html": html, "vars": vars
        });
        Job::parse(body.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn html_is_escaped_and_the_subject_is_not() {
        let mut it = job("Hi {{ n }}", "<p>{{ n }}</p>", json!({"n": "<Ada> & co"}));
        render(&mut it).unwrap();
        assert_eq!(
            (it.subject.as_str(), it.html.as_deref()),
            ("Hi <Ada> & co", Some("<p>&lt;Ada&gt; &amp; co</p>"))
        );
    }

    #[test]
    fn without_vars_nothing_is_rendered() {
        let mut it = job("{{ n }}", "{{ n", json!({}));
        it.vars = None;
        render(&mut it).unwrap();
        assert_eq!(it.subject, "{{ n }}");
    }

    #[test]
    fn a_part_that_renders_to_nothing_is_left_out() {
        let optional = "{% if n %}<p>{{ n }}</p>{% endif %}\n";
        let mut it = job("s", optional, json!({"n": ""}));
        it.text = Some("Hello".to_owned());
        render(&mut it).unwrap();
        assert_eq!((it.html, it.text.as_deref()), (None, Some("Hello")));
        let mut it = job("s", "<p>Hello</p>", json!({"n": ""}));
        it.text = Some(" {{ n }}".to_owned());
        render(&mut it).unwrap();
        assert_eq!((it.html.as_deref(), it.text), (Some("<p>Hello</p>"), None));
    }

    #[test]
    fn a_body_that_renders_to_nothing_is_refused() {
        for (html, text, field) in [
            (Some("{{ n }}"), Some(" \r\n{{ n }}"), "html"),
            (Some("{{ n }}"), None, "html"),
            (None, Some("{% if n %}x{% endif %}"), "text"),
        ] {
            let mut it = job("s", "x", json!({"n": ""}));
            (it.html, it.text) = (html.map(str::to_owned), text.map(str::to_owned));
            let refusal = render(&mut it).unwrap_err();
            assert_eq!(
                (refusal.reason, refusal.field.as_str()),
                (RefusalReason::Template, field),
                "{refusal}"
            );
        }
    }

    #[test]
    fn a_bad_template_names_its_field() {
        let long = "x".repeat(10_000);
        for (subject, html, vars, field) in [
            ("{{ n", "x", json!({}), "subject"),
            ("{{ n }}", "x", json!({}), "subject"),
            ("{{ n }}", "x", json!({"n": "a\r\nBcc: x@y.zz"}), "subject"),
            ("s", "{% include 'x' %}", json!({}), "html"),
            ("s", "{{ n | nosuchfilter }}", json!({"n": 1}), "html"),
            ("s", "{{ 1 / 0 }}", json!({}), "html"),
            (
                "s",
                "{% for a in n %}{% for b in n %}{% for c in n %}{{ x }}{% endfor %}{% endfor %}{% endfor %}",
                json!({"x": "y", "n": vec![1; 300]}),
                "html",
            ),
            ("s", "{% for a in n %}{{ x }}{% endfor %}", json!({"x": long, "n": vec![1; 300]}), "html"),
            ("s", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", json!({}), "html"),
        ] {
            let refusal = render(&mut job(subject, html, vars)).expect_err(html);
            assert_eq!(refusal.field, field, "{html}: {refusal}");
        }
    }

    #[test]
    fn a_text_cannot_grow_without_bound_inside_one_expression() {
        let grow = format!("{{% set a = x {} %}}{{{{ a | length }}}}", "~ x ".repeat(200));
        let doubling = "{% set a = x %}".to_owned() + &"{% set a = a ~ a %}".repeat(60) + "{{ a | length }}";
        let ok = render(&mut job("s", &grow, json!({"x": "y"})));
        assert!(ok.is_ok(), "{ok:?}");
        let refusal = render(&mut job("s", &doubling, json!({"x": "y"}))).unwrap_err();
        assert_eq!(refusal.field, "html");
    }
}
