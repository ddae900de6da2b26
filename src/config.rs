//! stub
use std::{net::SocketAddr, path::PathBuf};
/// Config.
#[derive(Clone, Debug)]
pub struct Config {
    /// x
    pub data: PathBuf,
    /// x
    pub zone: String,
    /// x
    pub origin: String,
    /// x
    pub dns: SocketAddr,
    /// x
    pub grpc: SocketAddr,
    /// x
    pub cache_bytes_max: usize,
    /// x
    pub index_cache_bytes_max: usize,
    /// x
    pub overlay_entries_max: usize,
    /// x
    pub log: String,
}
