//! The `touchmark` command: arguments in, exit code out.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut config = touchmark::config::Config::default();
    let a: Vec<String> = std::env::args().collect();
    for w in a.windows(2) {
        match w[0].as_str() {
            "--data" => config.data = w[1].clone().into(),
            "--grpc" => config.grpc = w[1].parse().unwrap(),
            _ => {}
        }
    }
    let rt = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    rt.block_on(async {
        let node = touchmark::app::Node::start(&config).await.unwrap();
        eprintln!("{:?} {}", node.summary(), node.grpc_addr());
        tokio::signal::ctrl_c().await.unwrap();
        node.stop().await.unwrap();
    });
}
