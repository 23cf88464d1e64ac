//! `<data-dir>/proxy/cluster`: the peer URLs that a proxy saw last, in etcd's own form. With it a proxy
//! finds a cluster that has moved since the proxy was configured.

use std::{
    fs, io,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Content {
    #[serde(rename = "PeerURLs")]
    peer_urls: Vec<String>,
}

/// The file of one proxy.
#[derive(Clone, Debug)]
pub struct ClusterFile(PathBuf);

impl ClusterFile {
    /// That of the proxy with this data directory; makes the folder.
    pub fn in_data_dir(data_dir: &Path) -> io::Result<ClusterFile> {
        let folder = data_dir.join("proxy");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        Ok(ClusterFile(folder.join("cluster")))
    }

    /// The peer URLs in it; none if it is not there yet.
    pub fn read(&self) -> io::Result<Option<Vec<String>>> {
        match fs::read(&self.0) {
            Ok(bytes) => {
                let content: Content = serde_json::from_slice(&bytes)?;
                Ok(Some(content.peer_urls))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces what is in it: all or nothing.
    pub fn write(&self, peer_urls: &[String]) -> io::Result<()> {
        let content = serde_json::to_vec(&Content { peer_urls: peer_urls.to_vec() })?;
        let beside = self.0.with_extension("bkp");
        let options = || {
            let mut options = fs::OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            options
        };
        let mut file = options().open(&beside)?;
        file.write_all(&content)?;
        file.sync_all()?;
        fs::rename(&beside, &self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_damage_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = ClusterFile::in_data_dir(&folder.path().join("data")).unwrap();
        assert_eq!(file.read().unwrap(), None);
        file.write(&["http://a:1".to_owned()]).unwrap();
        file.write(&["http://b:1".to_owned(), "http://c:1".to_owned()]).unwrap();
        assert_eq!(file.read().unwrap().unwrap(), ["http://b:1", "http://c:1"]);
        let path = folder.path().join("data/proxy/cluster");
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, r#"{"PeerURLs":["http://b:1","http://c:1"]}"#);
        fs::write(&path, "{").unwrap();
        assert!(file.read().is_err());
    }
}
