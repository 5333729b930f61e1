//! Templates, compiled: those that come again and again are kept, since all jobs of a campaign bring the same.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use minijinja::{Environment, Error};

/// Compiled templates that are kept; the oldest makes room for another.
const KEPT_MAX: usize = 16;
/// Longer texts are compiled each time.
const TEXT_MAX_BYTES: usize = 64 * 1024;
/// Texts that were met once lately: whoever comes a second time is kept, so that texts written for one recipient each
/// neither take room nor push others out.
const MET_MAX: usize = 64;
/// Each environment holds one template, and nothing but its line is ever told of it.
const NAME: &str = "template";

/// Compiles templates for one environment.
#[derive(Debug)]
pub(super) struct Compiler {
    environment: Environment<'static>,
    kept: RwLock<VecDeque<Kept>>,
    met: Mutex<VecDeque<u64>>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Kept {
    text: Box<str>,
    environment: Arc<Environment<'static>>,
}

impl Compiler {
    pub(super) fn new(environment: Environment<'static>) -> Self {
        Self { environment, kept: RwLock::default(), met: Mutex::default(), hasher: RandomState::new() }
    }

    /// Compiles `text`, unless it is kept, and hands it to `fill`.
    ///
    /// # Errors
    /// What does not compile.
    pub(super) fn with<T>(
        &self,
        text: &str,
        fill: impl FnOnce(&minijinja::Template<'_, '_>) -> T,
    ) -> Result<T, Error> {
        if let Some(kept) = self.kept(text) {
            return Ok(fill(&kept.get_template(NAME)?));
        }
        if !self.comes_again(text) {
            return Ok(fill(&self.environment.template_from_named_str(NAME, text)?));
        }
        let mut environment = self.environment.clone();
        environment.add_template_owned(NAME, text.to_owned())?;
        let filled = fill(&environment.get_template(NAME)?);
        self.keep(text, environment);
        Ok(filled)
    }

    fn kept(&self, text: &str) -> Option<Arc<Environment<'static>>> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|it| *it.text == *text).map(|it| Arc::clone(&it.environment))
    }

    /// Whether `text` was met lately; it counts as met from here on.
    fn comes_again(&self, text: &str) -> bool {
        if text.len() > TEXT_MAX_BYTES {
            return false;
        }
        let hash = self.hasher.hash_one(text);
        let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        if met.contains(&hash) {
            return true;
        }
        if met.len() >= MET_MAX {
            met.pop_front();
        }
        met.push_back(hash);
        false
    }

    fn keep(&self, text: &str, environment: Environment<'static>) {
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        if kept.iter().any(|it| *it.text == *text) {
            return;
        }
        if kept.len() >= KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back(Kept { text: text.into(), environment: Arc::new(environment) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiler() -> Compiler {
        Compiler::new(Environment::empty())
    }

    fn filled(compiler: &Compiler, text: &str) -> String {
        compiler.with(text, |template| template.render(()).unwrap()).unwrap()
    }

    fn is_kept(compiler: &Compiler, text: &str) -> bool {
        compiler.kept(text).is_some()
    }

    #[test]
    fn what_comes_a_second_time_is_kept_and_says_the_same() {
        let compiler = compiler();
        for time in 0..4 {
            assert_eq!(filled(&compiler, "{{ 1 + 1 }}"), "2");
            assert_eq!(is_kept(&compiler, "{{ 1 + 1 }}"), time >= 1, "{time}");
        }
    }

    #[test]
    fn texts_for_one_recipient_each_push_nothing_out() {
        let compiler = compiler();
        filled(&compiler, "campaign");
        filled(&compiler, "campaign");
        for number in 0..1_000 {
            filled(&compiler, &format!("for number {number}"));
        }
        assert!(is_kept(&compiler, "campaign"));
        assert_eq!(compiler.kept.read().unwrap().len(), 1);
        assert_eq!(compiler.met.lock().unwrap().len(), MET_MAX);
    }

    #[test]
    fn there_is_a_bound_on_number_and_size() {
        let compiler = compiler();
        let long = "x".repeat(TEXT_MAX_BYTES + 1);
        for _ in 0..3 {
            filled(&compiler, &long);
            for number in 0..2 * KEPT_MAX {
                filled(&compiler, &format!("campaign {number}"));
            }
        }
        assert_eq!(compiler.kept.read().unwrap().len(), KEPT_MAX);
        assert!(!is_kept(&compiler, &long));
    }

    #[test]
    fn what_does_not_compile_is_said_each_time() {
        let compiler = compiler();
        for _ in 0..3 {
            assert!(compiler.with("{{ n", |_| ()).is_err());
        }
    }
}
