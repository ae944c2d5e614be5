//! A real browser: Chromium, driven over the WebDriver protocol. Where there is none, tests that need it say so and end.

mod picture;

pub use picture::Picture;

use serde_json::{Value, json};
use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// A window.
pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
    _profile: TempDir,
}

/// The first of these programs on the path.
fn program(names: &[&str]) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let folders: Vec<PathBuf> = env::split_paths(&path).collect();
    names.iter().flat_map(|name| folders.iter().map(move |f| f.join(name))).find(|file| file.is_file())
}

impl Browser {
    /// Starts a browser without a screen; `None`, with a message, where there is none.
    pub fn start() -> Option<Browser> {
        let chrome = env::var_os("CHROME").map(PathBuf::from);
        let chrome = chrome.or_else(|| program(&["chromium", "chromium-browser", "google-chrome"]));
        let driver = env::var_os("CHROMEDRIVER").map(PathBuf::from).or_else(|| program(&["chromedriver"]));
        let (Some(chrome), Some(driver)) = (chrome, driver) else {
            eprintln!("skipped: no chromium with chromedriver on the path, nor in CHROME and CHROMEDRIVER");
            return None;
        };
        let mut driver = Command::new(driver)
            .args(["--port=0", "--allowed-ips=127.0.0.1"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = loop {
            let line = lines.next().expect("chromedriver says its port").unwrap();
            if let Some(port) = line.strip_suffix('.').and_then(|l| l.rsplit_once("on port ")) {
                break port.1.parse().unwrap();
            }
        };
        // What it says later must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let profile = tempfile::tempdir().unwrap();
        let mut arguments = vec![
            "--headless",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--window-size=1280,1000",
        ];
        arguments.extend(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
        // A sandbox needs a user that is not root.
        arguments.push("--no-sandbox");
        let folder = format!("--user-data-dir={}", profile.path().display());
        arguments.push(&folder);
        let options = json!({ "args": arguments, "binary": chrome.to_string_lossy() });
        let wanted = json!({ "goog:chromeOptions": options, "goog:loggingPrefs": { "browser": "ALL" } });
        let mut browser = Browser { driver, port, session: String::new(), _profile: profile };
        let session = browser.call("POST", "/session", &json!({ "capabilities": { "alwaysMatch": wanted } }));
        browser.session = session["sessionId"].as_str().unwrap_or_else(|| panic!("{session}")).to_owned();
        Some(browser)
    }

    /// Opens a file and waits until it is loaded.
    pub fn open(&self, file: &Path) {
        let file = file.canonicalize().unwrap();
        self.command("url", &json!({ "url": format!("file://{}", file.display()) }));
    }

    /// Runs the body of a function in the page, and gives what it returns.
    pub fn run(&self, script: &str) -> Value {
        self.command("execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Shows pages in a window of this width, on a `screen` or as they `print`, to a reader who prefers `light` or `dark`.
    pub fn look(&self, width: usize, media: &str, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.devtools("Emulation.setEmulatedMedia", &json!({ "media": media, "features": features }));
        let size = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", &size);
    }

    fn devtools(&self, command: &str, settings: &Value) -> Value {
        self.command("goog/cdp/execute", &json!({ "cmd": command, "params": settings }))
    }

    /// What the console has to complain about.
    pub fn complaints(&self) -> Vec<String> {
        let entries = self.command("se/log", &json!({ "type": "browser" }));
        entries.as_array().unwrap().iter().map(|e| format!("{}: {}", e["level"], e["message"])).collect()
    }

    fn command(&self, name: &str, body: &Value) -> Value {
        self.call("POST", &format!("/session/{}/{name}", self.session), body)
    }

    /// One request of WebDriver.
    fn call(&self, verb: &str, path: &str, body: &Value) -> Value {
        let body = body.to_string();
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        write!(
            stream,
            "{verb} {path} HTTP/1.1\r\nHost: localhost:{}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.port,
            body.len()
        )
        .unwrap();
        // The driver leaves the connection open: its answer is as long as it says.
        let mut stream = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            let Some((name, value)) = line.split_once(':') else {
                if line.trim().is_empty() { break } else { continue }
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut answer = vec![0; length];
        stream.read_exact(&mut answer).unwrap();
        let value: Value = serde_json::from_slice(&answer).unwrap();
        let value = value["value"].clone();
        assert!(value["error"].is_null(), "{value}");
        value
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() && !std::thread::panicking() {
            self.call("DELETE", &format!("/session/{}", self.session), &json!({}));
        }
        // The driver ends its browser.
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
