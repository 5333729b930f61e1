//! A plan that can be replaced while others read it.

use std::sync::{Arc, PoisonError, RwLock};

use super::{Plan, Sides};

/// The plan of the configuration as it was read last; those who hold it see a new one at once.
#[derive(Debug)]
pub struct LivePlan(RwLock<Arc<Plan>>);

impl LivePlan {
    /// Begins with `plan`.
    #[must_use]
    pub const fn new(plan: Arc<Plan>) -> Self {
        Self(RwLock::new(plan))
    }

    /// The plan that holds now.
    #[must_use]
    pub fn get(&self) -> Arc<Plan> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on `plan` holds, with the side lanes that there are.
    pub fn set(&self, plan: Arc<Plan>) {
        let mut live = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let has_them = plan.sides() == live.sides();
        *live = if has_them { plan } else { Arc::new(plan.with_sides(Arc::clone(live.sides()))) };
    }

    /// From now on there are these side lanes.
    pub fn set_sides(&self, sides: &Sides) {
        let mut live = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if live.sides() != sides {
            *live = Arc::new(live.with_sides(Arc::clone(sides)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_configuration_keeps_the_side_lanes() {
        let config = sluice_config::Config::load("", &[], &|_| Err(String::new())).unwrap();
        let live = LivePlan::new(Arc::new(Plan::of(&config)));
        let sides: Sides =
            Arc::new([("a.example".to_owned(), sluice_types::Side::all().next().unwrap())].into());
        live.set_sides(&sides);
        live.set(Arc::new(Plan::of(&config)));
        assert_eq!(live.get().sides(), &sides);
    }
}
