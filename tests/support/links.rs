//! The links between members, which a test can cut: each member is told its peers' addresses as those of
//! small TCP proxies, one for each member, that look at the handshake for who is calling.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

/// Longer heads are no handshake.
const HEAD_MAX: usize = 16 << 10;

/// What is cut, and the connections that are open.
#[derive(Debug, Default)]
struct Shared {
    /// (from, to), by member id in hex.
    cut: BTreeSet<(String, String)>,
    open: Vec<(String, String, TcpStream, TcpStream)>,
}

/// See the head of the module.
#[derive(Clone, Debug, Default)]
pub struct Links(Arc<Mutex<Shared>>);

impl Links {
    /// A proxy to a member's peer port; answers the address at which it listens. Whose port it is the
    /// callers say in their handshake.
    pub fn proxy_to(&self, target: SocketAddr) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let links = self.clone();
        thread::spawn(move || {
            for caller in listener.incoming().flatten() {
                let links = links.clone();
                thread::spawn(move || _ = links.serve(caller, target));
            }
        });
        address
    }

    /// Nothing passes from one member to the other any more; connections that are open break.
    pub fn cut(&self, from: &str, to: &str) {
        let mut shared = self.shared();
        shared.cut.insert((from.to_owned(), to.to_owned()));
        for (_, _, one, other) in shared.open.extract_if(.., |link| link.0 == from && link.1 == to)
        {
            _ = one.shutdown(Shutdown::Both);
            _ = other.shutdown(Shutdown::Both);
        }
    }

    /// Everything passes again.
    pub fn heal(&self) {
        self.shared().cut.clear();
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap()
    }

    fn serve(&self, mut caller: TcpStream, target: SocketAddr) -> std::io::Result<()> {
        let head = read_head(&mut caller)?;
        let (from, to) = (header(&head, "x-callboard-from"), header(&head, "x-callboard-to"));
        let mut member = TcpStream::connect(target)?;
        caller.set_nodelay(true)?;
        member.set_nodelay(true)?;
        {
            let mut shared = self.shared();
            if shared.cut.contains(&(from.clone(), to.clone())) {
                return Ok(()); // the caller sees a connection that ends at once
            }
            shared.open.push((from, to, caller.try_clone()?, member.try_clone()?));
        }
        member.write_all(&head)?;
        let (mut back_from, mut back_to) = (member.try_clone()?, caller.try_clone()?);
        let back = thread::spawn(move || {
            _ = std::io::copy(&mut back_from, &mut back_to);
            _ = back_to.shutdown(Shutdown::Both);
        });
        _ = std::io::copy(&mut caller, &mut member);
        _ = member.shutdown(Shutdown::Both);
        _ = back.join();
        Ok(())
    }
}

fn read_head(caller: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < HEAD_MAX {
        match caller.read(&mut buffer)? {
            0 => break,
            len => head.extend(&buffer[..len]),
        }
    }
    Ok(head)
}

/// The value of a header in a request's head; empty where there is none.
fn header(head: &[u8], name: &str) -> String {
    let head = String::from_utf8_lossy(head);
    let lines = head.lines().take_while(|line| !line.is_empty());
    let mut values = lines.filter_map(|line| line.split_once(':'));
    let found = values.find(|(found, _)| found.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}
