//! Maps in which each job is looked up several times.

use std::collections::HashMap;

/// By limits, and by what they are on. The hasher has a seed of its own in each process, and nobody who chooses a name sees how long
/// a look takes.
pub(crate) type ByName<K, V> = HashMap<K, V, foldhash::fast::RandomState>;
