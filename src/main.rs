//! The `touchmark` command: arguments in, exit code out.

fn main() {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut config = touchmark::config::Config::default();
    if let Some(d) = std::env::args().nth(1) {
        config.data = d.into();
    }
    let rt = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    rt.block_on(async {
        let node = touchmark::app::Node::start(&config).await.unwrap();
        eprintln!("{:?} {}", node.summary(), node.grpc_addr());
        tokio::signal::ctrl_c().await.unwrap();
        node.stop().await.unwrap();
    });
}
