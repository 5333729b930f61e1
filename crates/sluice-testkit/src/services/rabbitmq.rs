//! A private RabbitMQ broker.

use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::guarded_child::{GuardedChild, Program};
use super::rabbitmq_control::RabbitMqControl;
use super::scratch_dir::ScratchDir;
use super::watchdog::Ending;
use super::{binaries, log_file, ports, process_tree};

/// Six seconds on a quiet machine; beside builds on two cores it has taken more than 90.
const START_TIMEOUT: Duration = Duration::from_secs(300);
const STOP_TIMEOUT: Duration = Duration::from_secs(120);
const PROBE_STEP: Duration = Duration::from_millis(50);
/// Two rounds of the name table's `auto_save`, and some more.
const QUEUE_NAME_SAVED: Duration = Duration::from_millis(1_500);
/// A port can be taken between our look and the broker's bind.
const START_TRIES: u32 = 3;

/// A RabbitMQ broker of its own, with its own Erlang port mapper, on loopback, user `guest` with password `guest`.
/// Stock settings but one: quorum queues count their messages every 200 ms instead of every 5 s, so that
/// [`queue_depths`](Self::queue_depths) is fresh. Killed, and its data removed, on drop.
///
/// The calls block for as long as the broker takes; stand-ins and proxies of this crate go on meanwhile.
#[derive(Debug)]
pub struct PrivateRabbitMq {
    server: Mutex<GuardedChild>,
    // After the broker, before the directory: dropped in this order.
    _epmd: GuardedChild,
    program: Program,
    control: RabbitMqControl,
    dir: ScratchDir,
    port: u16,
    vhosts: AtomicU32,
}

impl PrivateRabbitMq {
    /// Starts a broker without queues, in about six seconds.
    ///
    /// # Panics
    /// If the programs are missing, or the broker is not up within five minutes; the message has its log.
    pub fn start() -> Self {
        let bin = binaries::rabbitmq_dir();
        let epmd = binaries::epmd();
        let mut complaint = String::new();
        for _ in 0..START_TRIES {
            match Self::start_on_free_ports(&bin, &epmd) {
                Ok(broker) => return broker,
                Err(reason) => complaint = reason,
            }
        }
        panic!("RabbitMQ does not start: {complaint}");
    }

    /// The url of `vhost` ("/" is the one every broker has).
    pub fn url(&self, vhost: &str) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/{}", self.port, vhost.replace('/', "%2f"))
    }

    /// The port it listens on, also while it is down.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's processes at this moment, the first one first.
    pub fn pids(&self) -> Vec<u32> {
        process_tree::tree(self.server().pid())
    }

    /// Makes an empty vhost with a name of its own, and answers its url.
    ///
    /// # Panics
    /// If the broker refuses.
    pub fn create_vhost(&self) -> String {
        let name = format!("test_{}", self.vhosts.fetch_add(1, Ordering::Relaxed));
        self.control.add_vhost(&name);
        self.url(&name)
    }

    /// Deletes a vhost (a name or a url of [`create_vhost`](Self::create_vhost)) with all its queues, whatever they hold.
    ///
    /// # Panics
    /// If the broker refuses.
    pub fn delete_vhost(&self, vhost: &str) {
        self.control.delete_vhost(vhost_name(vhost));
    }

    /// SIGKILL to the broker: a crash, a second and a half after the call. Returns when it is gone.
    ///
    /// The delay keeps a defect of brokers before mid-2024 out of the tests: the name of a new quorum queue reaches
    /// the disk only after 0.5 to 1 s, and a crash until then loses the queue with all it has confirmed
    /// (rabbitmq/ra#443). Queues declared before the call are safe; all else goes on until the crash.
    pub fn kill9(&self) {
        std::thread::sleep(QUEUE_NAME_SAVED);
        self.server().kill9();
    }

    /// SIGSTOP to the broker: connections stay open and nothing answers.
    pub fn pause(&self) {
        self.server().signal_tree("STOP");
    }

    /// SIGCONT after [`pause`](Self::pause).
    pub fn resume(&self) {
        self.server().signal_tree("CONT");
    }

    /// Starts it again on the same port and data; one that still runs is shut down in order first. Returns when it is
    /// up and each quorum queue has its leader and its counts.
    ///
    /// # Panics
    /// If it does not end within two minutes, or is not up again within five.
    pub fn restart(&self) {
        let mut server = self.server();
        if server.status().is_none() {
            server.signal_tree("CONT");
            self.control.shutdown();
            assert!(server.wait(STOP_TIMEOUT).is_some(), "RabbitMQ does not end:\n{}", self.log_tail());
        }
        let started = launch(&self.program, &self.dir, self.port, &self.control);
        *server = started.unwrap_or_else(|reason| panic!("RabbitMQ does not start again: {reason}"));
    }

    /// Messages (ready, unacknowledged) by queue. `vhost` is a name or a url of [`create_vhost`](Self::create_vhost).
    ///
    /// # Panics
    /// If the broker does not answer, or a queue does not know its counts within a minute.
    pub fn queue_depths(&self, vhost: &str) -> std::collections::BTreeMap<String, (u64, u64)> {
        self.control.queue_depths(vhost_name(vhost))
    }

    /// Deletes the queue `name` of `vhost` (a name or a url), whatever it holds.
    ///
    /// # Panics
    /// If the broker refuses.
    pub fn delete_queue(&self, vhost: &str, name: &str) {
        self.control.delete_queue(vhost_name(vhost), name);
    }

    /// Has the quorum queues begin a new file of their write-ahead log. RabbitMQ does so by itself each 512 MiB, and then
    /// writes what still lies in the old one into the files of the queues.
    ///
    /// # Panics
    /// If the broker refuses.
    pub fn begin_new_log(&self) {
        self.control.begin_new_log();
    }

    /// Runs `rabbitmqctl` with `args` on this broker and answers what it printed.
    ///
    /// # Panics
    /// If it fails.
    pub fn rabbitmqctl(&self, args: &[&str]) -> String {
        self.control.run(args)
    }

    /// What the broker logged so far.
    pub fn log(&self) -> String {
        log_file::read(&self.dir.join("log"))
    }

    fn start_on_free_ports(bin: &Path, epmd: &Path) -> Result<Self, String> {
        let dir = ScratchDir::new("rabbitmq");
        let (port, epmd_port, dist_port) = (ports::free_port(), ports::free_port(), ports::free_port());
        let node = format!("sluice-test-{port}@localhost");
        write_configuration(&dir, port);
        let env = environment(&dir, &node, epmd_port, dist_port);
        let epmd = GuardedChild::start(&epmd_program(epmd, &dir, epmd_port), &dir.join("epmd.log"))
            .map_err(|error| format!("cannot start epmd: {error}"))?;
        let program = Program {
            path: bin.join("rabbitmq-server"),
            args: Vec::new(),
            env: env.clone(),
            dir: dir.path().to_owned(),
            account: None,
            ending: Ending::Kill,
        };
        let control = RabbitMqControl::new(bin.join("rabbitmqctl"), env, node);
        let server = launch(&program, &dir, port, &control)?;
        Ok(Self {
            server: Mutex::new(server),
            _epmd: epmd,
            program,
            control,
            dir,
            port,
            vhosts: AtomicU32::new(0),
        })
    }

    fn server(&self) -> MutexGuard<'_, GuardedChild> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log_tail(&self) -> String {
        log_file::tail(&self.dir.join("log"))
    }
}

/// The last part of an amqp url, or the name itself.
fn vhost_name(vhost: &str) -> &str {
    match vhost.strip_prefix("amqp://").and_then(|rest| rest.split_once('/')) {
        Some((_, "%2f")) => "/",
        Some((_, name)) => name,
        None => vhost,
    }
}

/// The broker's own files, so that nothing below `/etc/rabbitmq` is read: a listener set there would be opened too.
fn write_configuration(dir: &ScratchDir, port: u16) {
    let files = [
        ("rabbitmq.conf", format!("listeners.tcp.1 = 127.0.0.1:{port}\n")),
        ("advanced.config", "[{rabbit, [{quorum_tick_interval, 200}]}].\n".to_owned()),
        ("enabled_plugins", "[].\n".to_owned()),
    ];
    for (name, text) in files {
        std::fs::write(dir.join(name), text).unwrap_or_else(|error| panic!("cannot write {name}: {error}"));
    }
}

/// In the foreground: a mapper which Erlang starts itself would be a daemon that outlives us.
fn epmd_program(epmd: &Path, dir: &ScratchDir, port: u16) -> Program {
    Program {
        path: epmd.to_owned(),
        args: vec!["-port".into(), port.to_string().into(), "-address".into(), "127.0.0.1".into()],
        env: Vec::new(),
        dir: dir.path().to_owned(),
        account: None,
        ending: Ending::Kill,
    }
}

/// For the broker and `rabbitmqctl` alike. The cookie is made in HOME, so each broker has its own.
fn environment(dir: &ScratchDir, node: &str, epmd_port: u16, dist_port: u16) -> Vec<(OsString, OsString)> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let loopback = "-kernel inet_dist_use_interface {127,0,0,1}";
    let mut env: Vec<(OsString, OsString)> = vec![
        ("PATH".into(), path),
        ("LANG".into(), "C.UTF-8".into()),
        ("HOME".into(), dir.path().into()),
        ("ERL_EPMD_PORT".into(), epmd_port.to_string().into()),
        ("ERL_EPMD_ADDRESS".into(), "127.0.0.1".into()),
        ("ERL_CRASH_DUMP_BYTES".into(), "0".into()),
        ("RABBITMQ_NODENAME".into(), node.into()),
        ("RABBITMQ_DIST_PORT".into(), dist_port.to_string().into()),
        // Below the ports of `ports.rs`, and wide enough for many calls at once.
        ("RABBITMQ_CTL_DIST_PORT_MIN".into(), "10000".into()),
        ("RABBITMQ_CTL_DIST_PORT_MAX".into(), "14999".into()),
        ("RABBITMQ_CTL_ERL_ARGS".into(), loopback.into()),
        ("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS".into(), loopback.into()),
        ("RABBITMQ_CONF_ENV_FILE".into(), "/dev/null".into()),
        ("RABBITMQ_LOGS".into(), "-".into()),
    ];
    let files = [
        ("RABBITMQ_CONFIG_FILE", "rabbitmq.conf"),
        ("RABBITMQ_ADVANCED_CONFIG_FILE", "advanced.config"),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", "enabled_plugins"),
        ("RABBITMQ_MNESIA_BASE", "data"),
        ("RABBITMQ_LOG_BASE", "logs"),
        ("RABBITMQ_PID_FILE", "pid"),
    ];
    env.extend(files.map(|(name, file)| (name.into(), dir.join(file).into_os_string())));
    env
}

/// Starts the broker and waits until it takes connections and says that it is up.
fn launch(
    program: &Program,
    dir: &ScratchDir,
    port: u16,
    control: &RabbitMqControl,
) -> Result<GuardedChild, String> {
    let log = dir.join("log");
    let mut server = GuardedChild::start(program, &log).map_err(|error| error.to_string())?;
    let deadline = Instant::now() + START_TIMEOUT;
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        if let Some(status) = server.status() {
            return Err(format!("it ended with {status}; the end of its log:\n{}", log_file::tail(&log)));
        }
        if Instant::now() >= deadline {
            return Err(format!(
                "not up in {START_TIMEOUT:?}; the end of its log:\n{}",
                log_file::tail(&log)
            ));
        }
        std::thread::sleep(PROBE_STEP);
    }
    // Somebody else may have been quicker to listen on the port.
    control
        .await_startup()
        .map_err(|error| format!("{error}\nthe end of its log:\n{}", log_file::tail(&log)))?;
    control.await_leaders();
    Ok(server)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vhost_is_named_by_itself_or_by_a_url() {
        assert_eq!(vhost_name("test_3"), "test_3");
        assert_eq!(vhost_name("amqp://guest:guest@127.0.0.1:15000/test_3"), "test_3");
        assert_eq!(vhost_name("amqp://guest:guest@127.0.0.1:15000/%2f"), "/");
        assert_eq!(vhost_name("/"), "/");
    }
}
