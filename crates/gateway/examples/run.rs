//! Temporary.
use drawbridge_gateway as gateway;
use gateway::{ConfigFile, Gateway, Prepared};
fn main() {
    let path = std::env::args().nth(1).unwrap();
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    rt.block_on(async {
        let file = ConfigFile::read(path.as_ref(), std::env::vars()).map_err(|p| eprintln!("{p}")).unwrap();
        let _guard = gateway::logging::start(&file.config.log).unwrap();
        let prepared = match Prepared::load(file, std::time::SystemTime::now()).await {
            Ok(p) => p,
            Err(problems) => {
                for p in problems {
                    eprintln!("{p}");
                }
                std::process::exit(1)
            }
        };
        let gateway = Gateway::start(prepared).await.map_err(|e| eprintln!("{}", gateway::load::chain(&e))).unwrap();
        println!("{:?}\n is ready", gateway.serving());
        tokio::signal::ctrl_c().await.unwrap();
        gateway.stop().await;
    });
}
