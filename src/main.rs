//! The `einthoven` binary; see [`einthoven::cli`].

fn main() -> std::process::ExitCode {
    einthoven::cli::main()
}
