//! Clients in other languages: generated from the contracts, compiled, and used as their readers are told to.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use contract::{
    DescriptorSet, Project,
    baseline::OURS,
    clients::{self, Language},
};
use mesh::testing::{Authority, eventually};
use proto::{
    contract::{FILE_DESCRIPTOR_SET, Role},
    reservation::v1::reservation::State,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    time::timeout,
};
use verify::tools::{Tool, ToolBox};
use world::{
    PATIENCE, World,
    caller::Caller,
    link::{Link, Way},
};

use crate::mutual_tls::Secured;

/// A40: polyglot programming.
#[tokio::test(flavor = "multi_thread")]
async fn a_python_client_tells_the_story() {
    tells_the_story(Language::Python, GeneratedClient::compile_python).await;
}

/// A40: polyglot programming.
#[tokio::test(flavor = "multi_thread")]
async fn a_typescript_client_tells_the_story() {
    tells_the_story(Language::TypeScript, GeneratedClient::compile_typescript).await;
}

/// A40: polyglot programming.
#[tokio::test(flavor = "multi_thread")]
async fn a_go_client_tells_the_story() {
    tells_the_story(Language::Go, GeneratedClient::compile_go).await;
}

/// A40: Java's is generated and compiled by its package's own build, without a network.
#[test]
#[ignore = "a step of its own, as it needs Maven Central once"]
fn a_java_client_compiles() {
    let client = GeneratedClient::new(Language::Java);
    client.tools.ensure(Tool::JavaClient).expect("what compiles it");
    let repository = format!("-Dmaven.repo.local={}", client.tools.path("java-client/repository").display());
    output(client.command(Path::new("mvn")).args(["--batch-mode", "--quiet", "--offline", &repository, "compile"]));
    for class in ["listing/v1/Listing", "reservation/v1/ReservationServiceGrpc", "voucher/v1/VoucherIssued"] {
        let file = client.path(&format!("target/classes/dev/holdfast/{class}.class"));
        assert!(file.is_file(), "{}", file.display());
    }
    assert!(client.path("target/classes/dev/holdfast/service_config.json").is_file());
}

/// A40: a client in another language proves itself, and asks the server to; nothing is answered to who does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_python_client_proves_itself_over_tls() {
    let client = GeneratedClient::new(Language::Python);
    let [mut program] = client.python_programs(["over_tls.py"]);
    let secured = Secured::start().await;
    let booked = secured.book().await;
    program.arg(&booked.name).env("CUSTOMER_TOKEN", secured.world.token("gil", Role::Customer));
    let mut ask = |service: &str, scheme: &str, certificates: &Path| {
        let url = format!("{scheme}://{}", secured.world.address(service));
        program.env("HOLDFAST_RESERVATION_URL", url).env("HOLDFAST_TLS_DIR", certificates);
        program.output().expect("it runs")
    };

    let own = secured.certificates("shop");
    // Its calls have the default timeout, which a busy machine may exceed.
    let printed = eventually(PATIENCE, || {
        let output = ask("reservation", "https", &own);
        async move { output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned()) }
    })
    .await;
    assert_eq!(printed, format!("{} STATE_CONFIRMED\n", booked.name));

    let stranger = tempfile::tempdir().expect("room for a folder");
    Authority::new().issue("shop", stranger.path());
    fs::copy(own.join("ca.crt"), stranger.path().join("ca.crt")).expect("a copy");
    for (why, service, scheme, certificates) in [
        ("another service", "payment", "https", own.as_path()),
        ("in plain text", "reservation", "http", &own),
        ("certified by a stranger", "reservation", "https", stranger.path()),
    ] {
        let output = ask(service, scheme, certificates);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && complaint.contains("StatusCode.UNAVAILABLE"), "{why}: {output:?}");
    }
}

/// T29: its types fit, the example of the guide books, and the README's story comes out well, misfortunes included.
async fn tells_the_story(language: Language, compile: fn(&GeneratedClient) -> Programs) {
    let client = GeneratedClient::new(language);
    let programs = compile(&client);

    let mut world = World::start().await;
    let link = Link::start().await;
    link.lead_to(world.address("reservation"));
    let mut environment = world.environment();
    environment.extend([
        ("HOLDFAST_RESERVATION_URL".to_owned(), link.url()),
        ("HOST_TOKEN".to_owned(), world.token("hana", Role::Host)),
        ("CUSTOMER_TOKEN".to_owned(), world.token("gil", Role::Customer)),
    ]);

    let mut story = programs.story;
    story.envs(environment.clone());
    let told = tell(story, &mut world, &link).await;
    assert_eq!(told.last().map(String::as_str), Some("  ok the room free again"), "{told:#?}");

    let listing = world.host().offer(100).await;
    let mut example = programs.example;
    example.arg(listing).envs(environment).stderr(Stdio::inherit());
    // Its calls have the default timeout, which a busy machine may exceed.
    let printed = eventually(PATIENCE, || {
        let output = example.output().expect("it runs");
        async move { output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned()) }
    })
    .await;
    let name = printed.split_whitespace().next().expect("the name first");
    assert_eq!(world.customer("gil").reservation(name).await.expect("it is there").state(), State::Confirmed);
    world.audit();
}

/// A package in a folder of its own, with the programs that use it.
struct GeneratedClient {
    tools: ToolBox,
    sources: PathBuf,
    folder: TempDir,
}

struct Programs {
    story: Command,
    example: Command,
}

impl GeneratedClient {
    fn new(language: Language) -> Self {
        let project = Project::at(&Project::own_root());
        let set = DescriptorSet::decode(FILE_DESCRIPTOR_SET, OURS).expect("our contracts");
        let folder = tempfile::tempdir().expect("room for a folder");
        clients::generate(&project, &set, language, folder.path()).expect("a client");
        let tools = ToolBox::open(project.root()).expect("the tools that generated it");
        Self { tools, sources: project.client(language), folder }
    }

    fn compile_python(&self) -> Programs {
        let [story, example] = self.python_programs(["story.py", "example.py"]);
        Programs { story, example }
    }

    /// Installed, and away from its sources: what the package lacks would be missed.
    fn python_programs<const N: usize>(&self, names: [&str; N]) -> [Command; N] {
        let site = self.path("site");
        let python = self.tools.path("python-client/bin/python");
        let files = names.map(|name| format!("programs/{name}"));
        names.iter().zip(&files).for_each(|(name, file)| self.add(name, file));
        let install = ["-m", "pip", "install", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"];
        output(self.command(&python).args(install).arg("--target").arg(&site).arg(self.folder.path()));
        for what in [&["-p".to_owned(), "holdfast".to_owned()][..], &files] {
            let mut check = self.command(&python);
            output(check.args(["-m", "mypy", "--config-file", "pyproject.toml"]).args(what).env("MYPYPATH", &site));
        }
        files.map(|file| {
            let mut command = self.command(&python);
            command.arg(self.path(&file)).env("PYTHONPATH", &site);
            command
        })
    }

    fn compile_typescript(&self) -> Programs {
        let modules = self.tools.path("protoc-gen-es/node_modules");
        symlink(&modules, self.path("node_modules")).expect("a link");
        self.add("story.ts", "src/story.ts");
        self.add("example.ts", "src/example.ts");
        output(&mut self.command(&modules.join(".bin/tsc")));
        let program = |name: &str| {
            let mut command = self.command(&self.tools.path("bin/node"));
            command.arg(self.path("dist").join(name));
            command
        };
        Programs { story: program("story.js"), example: program("example.js") }
    }

    fn compile_go(&self) -> Programs {
        self.add("story/main.go", "story/main.go");
        self.add("example/main.go", "example/main.go");
        output(self.command(Path::new("go")).args(["vet", "./..."]));
        output(self.command(Path::new("go")).args(["build", "-o", "programs/", "./story", "./example"]));
        let program = |name: &str| self.command(&self.path("programs").join(name));
        Programs { story: program("story"), example: program("example") }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// Adds a program that uses the package.
    fn add(&self, source: &str, to: &str) {
        let to = self.path(to);
        fs::create_dir_all(to.parent().expect("in a folder")).expect("room for a folder");
        fs::copy(self.sources.join(source), to).expect("a copy");
    }

    /// A program that finds the tools, in the package's folder.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        self.tools.prepare(&mut command).current_dir(self.folder.path());
        command
    }
}

/// What a program prints that ends well.
fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}\n{out}\n{err}");
    out.into_owned()
}

/// Runs a story to its end, with the misfortunes that it asks for; its lines.
async fn tell(story: Command, world: &mut World, link: &Link) -> Vec<String> {
    let guest = world.customer("gil");
    let mut story = tokio::process::Command::from(story);
    story.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = story.spawn().expect("the story begins");
    let mut input = child.stdin.take().expect("piped");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut told = Vec::new();
    while let Some(line) = timeout(2 * PATIENCE, lines.next_line()).await.expect("it goes on").expect("text") {
        if let Some(misfortune) = line.strip_prefix("? ") {
            let before = guest.my_reservations().await.len();
            befall(misfortune, world, link).await;
            input.write_all(b"\n").await.expect("it listens");
            if misfortune == LOST {
                booked(&guest, before + 1).await;
                link.mend();
            }
        }
        told.push(line);
    }
    let status = child.wait().await.expect("a child of ours");
    assert!(status.success(), "{status} after {told:#?}");
    told
}

/// The next call is heard and answered, and its caller's connection breaks before the answer is there.
const LOST: &str = "lose the answer";

async fn befall(misfortune: &str, world: &mut World, link: &Link) {
    match misfortune {
        LOST => link.spoil(Way::Open, Way::Silent),
        "freeze listing" => {
            world.freeze("listing", true);
            eventually(PATIENCE, || async { world.is_frozen("listing") }).await;
        }
        "thaw listing" => world.freeze("listing", false),
        "stop listing" => world.stop("listing").await,
        "start listing" => world.begin("listing").await,
        other => panic!("no misfortune is called {other:?}"),
    }
}

/// Waits until so many reservations are confirmed.
async fn booked(guest: &Caller, count: usize) {
    eventually(PATIENCE, || async {
        let reservations = guest.my_reservations().await;
        reservations.len() == count && reservations.iter().all(|it| it.state() == State::Confirmed)
    })
    .await;
}
