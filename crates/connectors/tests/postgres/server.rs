//! A PostgreSQL server of the tests' own: in a temporary folder, on a free port, gone with the process that started it.
//!
//! Started by root it runs as an unprivileged user, since the server refuses root. A process that waits for the test's lock stops
//! the server and removes its folder, also when the test is killed.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection};

/// What the role `reader`, which the gateway is, has to say.
pub(crate) const PASSWORD: &str = "CANARY-password";

/// A running server.
pub(crate) struct Server {
    folder: PathBuf,
    port: u16,
    user: Option<(u32, u32)>,
    /// Held as long as the server is wanted.
    _wanted: File,
}

static SHARED: LazyLock<Server> = LazyLock::new(|| Server::start("scram-sha-256"));
static DATABASES: AtomicU32 = AtomicU32::new(0);

impl Server {
    /// The server that this process's tests share. None of them may stop it.
    pub(crate) fn shared() -> &'static Self {
        &SHARED
    }

    /// Starts a server whose role `reader` is let in by `method`.
    pub(crate) fn start(method: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("drawbridge-pg-").tempdir().unwrap().keep();
        let user = unprivileged();
        if let Some((uid, gid)) = user {
            chown(&folder, Some(uid), Some(gid)).unwrap();
        }
        let wanted = File::create(folder.join("wanted")).unwrap();
        wanted.lock().unwrap();
        let mut server = Self { folder, port: 0, user, _wanted: wanted };
        server.lay_out();
        let access = format!("local all postgres trust\nhost all all 127.0.0.1/32 {method}\n");
        fs::write(Path::new(&server.data()).join("pg_hba.conf"), access).unwrap();
        server.reap();
        server.configure("");
        // Another process may take the port before the server does.
        let begun = (0..5).any(|_| {
            server.port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            server.try_start_again()
        });
        assert!(
            begun,
            "the server does not start: {}",
            fs::read_to_string(server.folder.join("log")).unwrap_or_default()
        );
        server.psql(
            "postgres",
            &format!("SET password_encryption = '{method}'; CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}'"),
        );
        fs::write(server.folder.join("password"), format!("{PASSWORD}\n")).unwrap();
        server
    }

    /// Makes the folder of the server's data, as `initdb` does. That takes a second, so it is done once, and copied from then on.
    fn lay_out(&self) {
        let (data, initdb) = (self.data(), binary("initdb"));
        let made_by = format!("{} {:?}\n", initdb.display(), self.user);
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (kept, lock) = (kept.join("postgresql"), File::create(kept.join("postgresql.lock")).unwrap());
        // Tests run in processes of their own.
        lock.lock().unwrap();
        let copy = |from: &str, to: &str| {
            let copied = Command::new("cp").args(["-a", from, to]).status().unwrap();
            assert!(copied.success(), "cannot copy {from} to {to}");
        };
        let template = kept.join("data").display().to_string();
        if fs::read_to_string(kept.join("made-by")).is_ok_and(|made| made == made_by) {
            drop(lock);
            copy(&template, &data);
            return;
        }
        self.run("initdb", &["-U", "postgres", "-E", "UTF8", "--no-locale", "--no-sync", "-A", "trust", "-D", &data]);
        let _ = fs::remove_dir_all(&kept);
        fs::create_dir(&kept).unwrap();
        copy(&data, &template);
        // Last, so that what was broken off half-way is made again.
        fs::write(kept.join("made-by"), made_by).unwrap();
    }

    /// Sets the server up, with lines of its own in its configuration. They hold from the next start.
    pub(crate) fn configure(&self, lines: &str) {
        let text = format!(
            "listen_addresses = '127.0.0.1'\nunix_socket_directories = '{}'\nfsync = off\nfull_page_writes = off\n\
             shared_buffers = 16MB\nmax_connections = 40\nautovacuum = off\n{lines}\n",
            self.folder.display()
        );
        fs::write(Path::new(&self.data()).join("postgresql.auto.conf"), text).unwrap();
    }

    /// Writes a file that only the server's user may read.
    pub(crate) fn secret(&self, name: &str, text: &str) {
        let file = self.folder.join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        if let Some((uid, gid)) = self.user {
            chown(&file, Some(uid), Some(gid)).unwrap();
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn data(&self) -> String {
        self.folder.join("data").display().to_string()
    }

    /// The port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Makes an empty database that `reader` may read, runs a script in it and returns its name.
    pub(crate) fn database(&self, script: &str) -> String {
        let name = format!("d{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        self.psql("postgres", &format!("CREATE DATABASE {name}"));
        let rights = "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO reader;";
        self.psql(&name, &format!("{rights}\n{script}"));
        name
    }

    /// The table `[database.legacy]` for a database, with `lines` of its own.
    pub(crate) fn table(&self, database: &str, lines: &str) -> String {
        format!(
            "[database.legacy]\nurl = \"postgres://reader@127.0.0.1:{}/{database}\"\npassword_file = \"{}\"\n{lines}\n",
            self.port,
            self.folder.join("password").display()
        )
    }

    /// Runs a script as the database's owner, with `psql`, which also reads data from within it.
    pub(crate) fn psql(&self, database: &str, script: &str) {
        let file = self.folder.join(format!("script-{}", DATABASES.fetch_add(1, Ordering::Relaxed)));
        fs::write(&file, script).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let (host, port) = (self.folder.display().to_string(), self.port.to_string());
        let file = file.display().to_string();
        self.run(
            "psql",
            &["-qX", "-v", "ON_ERROR_STOP=1", "-h", &host, "-p", &port, "-U", "postgres", "-d", database, "-f", &file],
        );
    }

    /// Connects as the database's owner.
    pub(crate) async fn owner(&self, database: &str) -> PgConnection {
        PgConnectOptions::new_without_pgpass()
            .host("localhost")
            .socket(&self.folder)
            .port(self.port)
            .username("postgres")
            .database(database)
            .connect()
            .await
            .unwrap()
    }

    /// Asks the server one thing as its owner.
    pub(crate) async fn told<T>(&self, sql: &str) -> T
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
    {
        let mut owner = self.owner("postgres").await;
        let answer = sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&mut owner).await.unwrap();
        owner.close().await.unwrap();
        answer
    }

    /// How many of the gateway's sessions there are for which the condition holds.
    pub(crate) async fn sessions(&self, condition: &str) -> i64 {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'drawbridge' AND usename = 'reader' AND {condition}"
        );
        self.told(&sql).await
    }

    /// Runs a statement as the owner.
    pub(crate) async fn run_in(&self, database: &str, sql: &str) {
        let mut owner = self.owner(database).await;
        owner.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await.unwrap();
        owner.close().await.unwrap();
    }

    /// Stops the server at once, and every session with it.
    pub(crate) fn stop(&self) {
        self.run("pg_ctl", &["-D", &self.data(), "-m", "immediate", "-w", "stop"]);
    }

    pub(crate) fn start_again(&self) {
        assert!(self.try_start_again(), "the server does not start again");
    }

    fn try_start_again(&self) -> bool {
        let (log, options) = (self.folder.join("log").display().to_string(), format!("-p {}", self.port));
        self.output("pg_ctl", &["-D", &self.data(), "-l", &log, "-o", &options, "-w", "start"]).status.success()
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let output = self.output(program, arguments);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{program} {arguments:?}: {told}");
    }

    fn output(&self, program: &str, arguments: &[&str]) -> Output {
        let errors = self.folder.join("errors");
        let mut command = Command::new(binary(program));
        // Not a pipe: the server would hold it open.
        let file = File::options().append(true).create(true).open(&errors).unwrap();
        command.args(arguments).current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        let status = command.status().unwrap();
        let stderr = if status.success() { Vec::new() } else { fs::read(&errors).unwrap_or_default() };
        Output { status, stdout: Vec::new(), stderr }
    }

    /// Starts what cleans up after this process.
    #[expect(clippy::zombie_processes, reason = "it outlives this process, whose end it waits for")]
    fn reap(&self) {
        const SCRIPT: &str = "
            flock \"$1/wanted\" true
            pid=$(head -n 1 \"$1/data/postmaster.pid\" 2>/dev/null) && kill -QUIT \"$pid\" && while kill -0 \"$pid\"; do sleep 0.05; done
            rm -rf \"$1\"";
        Command::new("sh")
            .args(["-c", SCRIPT, "reaper"])
            .arg(&self.folder)
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
    }
}

/// A user that is not root, if this process is.
fn unprivileged() -> Option<(u32, u32)> {
    if fs::metadata("/proc/self").is_ok_and(|process| std::os::unix::fs::MetadataExt::uid(&process) != 0) {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let ids = |name: &str| {
        let line = users.lines().find(|line| line.starts_with(&format!("{name}:")))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    Some(ids("postgres").or_else(|| ids("nobody")).expect("a user `postgres` or `nobody` to run the server as"))
}

/// Where a program of PostgreSQL is: Debian keeps those of a server apart.
fn binary(program: &str) -> PathBuf {
    static FOLDERS: LazyLock<Vec<PathBuf>> = LazyLock::new(|| {
        let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let mut folders: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
        folders.sort();
        folders.reverse();
        folders.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
        folders
    });
    FOLDERS.iter().map(|folder| folder.join(program)).find(|file| file.exists()).expect(
        "PostgreSQL's server is not installed; `cargo xtask test` installs it, or as root on Debian: apt-get install postgresql",
    )
}
