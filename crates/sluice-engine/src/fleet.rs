//! This process as one of a fleet: what it tells the others through the store, and what holds for all.

mod census;
mod link;
mod news;

pub(crate) use census::count_parked;
pub(crate) use link::{Link, keep_in_touch, orders};
pub(crate) use news::{CallNews, News};
