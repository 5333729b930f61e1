//! Rebuilds when a migration file comes or goes; the embedding macro alone sees only changed ones.

fn main() {
    println!("cargo::rerun-if-changed=../../migrations");
}
