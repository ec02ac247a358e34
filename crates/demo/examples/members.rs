//! Temporary.
fn main() {
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let dir = std::env::args().nth(1).unwrap();
    let folders = rt.block_on(drawbridge_demo::members::write(dir.as_ref(), std::time::SystemTime::now()));
    println!("{folders:?}");
}
