//! Unix sockets beside TCP: who may open the file may call, and what is spoken is the same. The file is
//! there for as long as it is listened at.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr},
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
        net::{UnixListener, UnixStream as StdUnixStream},
    },
    path::{Path, PathBuf},
    rc::Rc,
};

use actix_web::dev::Service;
use tokio::net::{TcpListener, TcpStream, UnixStream};

use super::{
    accept::{AcceptError, handshake},
    grpc::GrpcDoor,
    server::{self, Parsed, Tls},
    wire::Wire,
};

/// The process's user and group may connect.
const MODE: u32 = 0o660;

/// A file that clients connect to. It goes when this is dropped, if it is still the same.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    made: (u64, u64),
}

impl SocketFile {
    /// Listens at `path`. A socket that nobody listens at any more is replaced; what else has this path
    /// stays, and is an error.
    pub fn listen(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
        if let Some(what) = in_the_way(path)? {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, what));
        }
        // Under another name until its mode is set, so that nobody is let in before; then in one step.
        let fresh = path.with_added_extension("new");
        gone(&fresh)?;
        let listener = UnixListener::bind(&fresh)?;
        fs::set_permissions(&fresh, fs::Permissions::from_mode(MODE))?;
        fs::rename(&fresh, path)?;
        let made = identity(path)?;
        Ok((listener, SocketFile { path: path.to_owned(), made }))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.made) {
            _ = fs::remove_file(&self.path); // the next start replaces it
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

fn gone(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What must not be replaced.
fn in_the_way(path: &Path) -> io::Result<Option<&'static str>> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        return Ok(Some("there is a file, and it is no socket"));
    }
    // Refused: whoever listened there has gone without removing it.
    match StdUnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(None),
        _ => Ok(Some("another process listens there")),
    }
}

/// A listener, of whichever kind.
pub(super) trait Accept {
    /// What it gives.
    type Stream: Connection;
    /// The next connection.
    async fn next(&self) -> io::Result<Self::Stream>;
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<TcpStream> {
        self.accept().await.map(|(tcp, _)| tcp)
    }
}

impl Accept for tokio::net::UnixListener {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<UnixStream> {
        self.accept().await.map(|(unix, _)| unix)
    }
}

/// A connection, of whichever kind, as it was accepted.
pub(super) trait Connection: Sized + 'static {
    /// Whose connections it counts among: all of a Unix socket are this machine's own.
    fn address(&self) -> Option<IpAddr>;

    /// Serves it to its end.
    async fn take<S>(self, tls: Option<Tls>, http: Rc<S>, grpc: Rc<GrpcDoor>)
    where
        S: Service<Parsed>;
}

impl Connection for TcpStream {
    fn address(&self) -> Option<IpAddr> {
        self.peer_addr().ok().map(|address| address.ip())
    }

    async fn take<S>(self, tls: Option<Tls>, http: Rc<S>, grpc: Rc<GrpcDoor>)
    where
        S: Service<Parsed>,
    {
        _ = server::take(self, tls, http, grpc).await;
    }
}

impl Connection for UnixStream {
    fn address(&self) -> Option<IpAddr> {
        Some(Ipv4Addr::LOCALHOST.into())
    }

    async fn take<S>(self, tls: Option<Tls>, http: Rc<S>, grpc: Rc<GrpcDoor>)
    where
        S: Service<Parsed>,
    {
        let wire = tokio::select! {
            wire = shaken(self, tls) => wire,
            () = grpc.drained() => return,
        };
        match wire {
            Ok(wire) => _ = server::serve(wire, None, http, grpc).await,
            Err(error) => server::refused(&error, None, &grpc),
        }
    }
}

async fn shaken(unix: UnixStream, tls: Option<Tls>) -> Result<Wire, AcceptError> {
    let Some(tls) = tls else { return Ok(Wire::Local(Box::new(unix))) };
    Ok(Wire::LocalTls(Box::new(handshake(unix, &tls).await?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_socket_that_nobody_listens_at_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        let mode = || fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o777;

        drop(UnixListener::bind(&path).unwrap()); // the file stays
        let (listener, file) = SocketFile::listen(&path).unwrap();
        assert_eq!(mode(), MODE);
        StdUnixStream::connect(&path).unwrap();
        let again = SocketFile::listen(&path).unwrap_err();
        assert_eq!(again.to_string(), "another process listens there");
        drop(listener);
        drop(file);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left");

        fs::write(&path, "of somebody").unwrap();
        let refused = SocketFile::listen(&path).unwrap_err();
        assert_eq!(refused.to_string(), "there is a file, and it is no socket");
        assert_eq!(fs::read(&path).unwrap(), b"of somebody");
    }

    #[test]
    fn what_another_has_put_there_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        let (listener, file) = SocketFile::listen(&path).unwrap();
        drop(listener);
        let (_listener, _other) = SocketFile::listen(&path).unwrap();
        drop(file);
        StdUnixStream::connect(&path).unwrap();
    }
}
