//! The whole worker against private services.
