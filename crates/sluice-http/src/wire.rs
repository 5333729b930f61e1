//! What goes out as JSON: the engine's views, described for the API document.
//!
//! The engine does not know that document, so each of its views has a mirror here with the same fields. A field that is
//! in only one of the two does not compile.

mod esp;
mod job;
mod limit;
mod system;
mod words;

use std::collections::BTreeMap;

pub(crate) use esp::{BreakerView, EspView};
pub(crate) use job::{AnswersSchema, JobAnswer, JobView, JobsSchema};
pub(crate) use limit::{LimitChange, RateLimitsView};
pub(crate) use system::{FleetView, Order, StatusView};

/// Turns a view of the engine into its mirror.
pub(crate) trait Mirror<T> {
    fn mirror(self) -> T;
}

/// Mirrors of structs of the same name in the engine.
macro_rules! mirror {
    ($($(#[$meta:meta])* struct $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)+ })+) => {$(
        $(#[$meta])*
        #[derive(Debug, serde::Serialize, utoipa::ToSchema)]
        pub(crate) struct $name {
            $($(#[$field_meta])* pub(crate) $field: $type,)+
        }

        impl $crate::wire::Mirror<$name> for sluice_engine::$name {
            fn mirror(self) -> $name {
                let Self { $($field),+ } = self;
                $name { $($field: $crate::wire::Mirror::mirror($field)),+ }
            }
        }
    )+};
}
pub(crate) use mirror;

macro_rules! same {
    ($($type:ty),+) => {$(
        impl Mirror<$type> for $type {
            fn mirror(self) -> $type {
                self
            }
        }
    )+};
}
same!(bool, u32, u64, f64, String, &'static str, BTreeMap<String, u64>, BTreeMap<String, f64>);

impl<T: Mirror<U>, U> Mirror<Option<U>> for Option<T> {
    fn mirror(self) -> Option<U> {
        self.map(Mirror::mirror)
    }
}

impl<T: Mirror<U>, U> Mirror<Vec<U>> for Vec<T> {
    fn mirror(self) -> Vec<U> {
        self.into_iter().map(Mirror::mirror).collect()
    }
}
