//! A relay between the program and a real IMAP server: forwards commands and responses. If a test asks for it, refuses a
//! command, or cuts the connection before or after the server has executed it.

use std::{
    io::{BufRead, BufReader, ErrorKind, Result, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// Treatment of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Pass,
    /// The server does not get the command, and the program gets this tagged response.
    Refuse(&'static str),
    CutBefore,
    /// The server executes the command, and the program gets no response.
    CutAfter,
}

type Hook = Box<dyn FnMut(&str) -> Way + Send>;

pub struct Relay {
    pub port: u16,
    commands: Arc<Mutex<Vec<String>>>,
}

impl Relay {
    /// Forwards to the server at `port`; `hook` decides on each command, which it gets without its tag.
    pub fn start(port: u16, hook: impl FnMut(&str) -> Way + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let relay = Self { port: listener.local_addr().unwrap().port(), commands: Arc::default() };
        let (commands, hook) = (relay.commands.clone(), Arc::new(Mutex::new(Box::new(hook) as Hook)));
        // Ends with the test process; it holds only a port.
        thread::spawn(move || {
            for client in listener.incoming() {
                let (commands, hook) = (commands.clone(), hook.clone());
                // A broken connection is intended by the test, or is the end of a session.
                thread::spawn(move || {
                    session(client?, TcpStream::connect((Ipv4Addr::LOCALHOST, port))?, &commands, &hook)
                });
            }
        });
        relay
    }

    /// Returns the commands so far, without their tags.
    pub fn commands(&self) -> Vec<String> {
        self.commands.lock().unwrap().clone()
    }

    pub fn count(&self, command: &str) -> usize {
        self.commands().iter().filter(|sent| sent.starts_with(command)).count()
    }
}

fn session(client: TcpStream, server: TcpStream, commands: &Mutex<Vec<String>>, hook: &Mutex<Hook>) -> Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut client, mut server) = (BufReader::new(client), BufReader::new(server));
    let greeting = line(&mut server)?;
    client.get_mut().write_all(&greeting)?;
    let (mut tag, mut asked_for_more) = (String::new(), false);
    loop {
        let command = line(&mut client)?;
        let way = if asked_for_more {
            Way::Pass
        } else {
            let text = String::from_utf8_lossy(&command).trim_end().to_owned();
            let words = text.split_once(' ').map(|(begin, words)| {
                begin.clone_into(&mut tag);
                words
            });
            commands.lock().unwrap().push(words.unwrap_or_default().to_owned());
            hook.lock().unwrap()(words.unwrap_or_default())
        };
        match way {
            Way::Refuse(answer) => {
                client.get_mut().write_all(format!("{tag} {answer}\r\n").as_bytes())?;
                continue;
            }
            Way::CutBefore => return Ok(()),
            Way::Pass | Way::CutAfter => server.get_mut().write_all(&command)?,
        }
        loop {
            let answer = line(&mut server)?;
            if way == Way::Pass {
                client.get_mut().write_all(&answer)?;
            }
            asked_for_more = answer.starts_with(b"+");
            if asked_for_more || answer.starts_with(format!("{tag} ").as_bytes()) {
                break;
            }
        }
        if way == Way::CutAfter {
            return Ok(());
        }
    }
}

fn line(from: &mut BufReader<TcpStream>) -> Result<Vec<u8>> {
    let mut line = Vec::new();
    match from.read_until(b'\n', &mut line)? {
        0 => Err(ErrorKind::UnexpectedEof.into()),
        _ => Ok(line),
    }
}
