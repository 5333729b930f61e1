//! A plan that can be replaced while others read it.

use std::sync::{Arc, PoisonError, RwLock};

use super::Plan;

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

    /// From now on `plan` holds.
    pub fn set(&self, plan: Arc<Plan>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = plan;
    }
}
