//! The migrations are compiled into the crate: build it again when one is added.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
