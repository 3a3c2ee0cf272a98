//! Rebuilds the crate when the page was built.
//!
//! The page (`web/dist`) is embedded, and may be missing: then its folder is made,
//! empty, so that there is something whose change can be seen. Never builds the page.

use std::{fs, path::Path};

fn main() {
    let dist = Path::new("../../web/dist");
    if !dist.exists() {
        // Where the tree cannot be written, the next build looks again.
        let _ = fs::create_dir_all(dist);
    }
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", dist.display());
}
