//! Embeds new migrations: without this line cargo would not notice a file added under `migrations`.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
}
