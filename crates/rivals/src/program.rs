//! What the programs of the servers have in common: they describe their servers, run one turn, or are its clients.
//!
//! ```text
//!   PROGRAM --describe        one line of JSON for each server
//!   PROGRAM --turn ORDER      the outcome, as JSON
//!   PROGRAM --clients ORDER   clients over loopback, for a turn
//! ```

use std::env;
use std::process::ExitCode;

use lab_report::output::{eprint_line, print_line};
use serde::{Deserialize, Serialize};

use crate::Problem;
use crate::clients;
use crate::servers::{Server, lines_of_code};
use crate::turn::{self, Order};

/// A server as the report knows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Description {
    pub name: String,
    pub title: String,
    pub own_free: String,
    pub asks_key: bool,
    pub is_layby: bool,
    pub lines: usize,
}

impl Description {
    fn of(server: &dyn Server) -> Self {
        Self {
            name: server.name().to_owned(),
            title: server.title().to_owned(),
            own_free: server.own_free().to_owned(),
            asks_key: server.asks_key(),
            is_layby: server.is_layby(),
            lines: lines_of_code(server.sources()),
        }
    }
}

/// Does what the command line says with these servers; `None` if it says nothing of the kind.
pub fn run(servers: &[&'static dyn Server]) -> Option<ExitCode> {
    let args: Vec<String> = env::args().skip(1).collect();
    let done = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--describe"] => describe(servers),
        ["--turn", order] => turn(servers, order),
        ["--clients", order] => clients::serve(order),
        _ => return None,
    };
    Some(match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprint_line(problem);
            ExitCode::FAILURE
        }
    })
}

fn describe(servers: &[&'static dyn Server]) -> Result<(), Problem> {
    for server in servers {
        print_line(serde_json::to_string(&Description::of(*server))?)?;
    }
    Ok(())
}

fn turn(servers: &[&'static dyn Server], order: &str) -> Result<(), Problem> {
    let order: Order = serde_json::from_str(order)?;
    let server = servers.iter().find(|server| server.name() == order.server);
    let server = server.ok_or_else(|| format!("no server is called {}", order.server))?;
    print_line(serde_json::to_string(&turn::run(*server, &order)?)?)?;
    // Without waiting for the server's threads.
    std::process::exit(0);
}
