# A formula for Homebrew, from a clone: brew install --HEAD ./host/packaging/assigner.rb
class Assigner < Formula
  desc "Gives queued tasks to the tmux sessions that suit them best"
  license any_of: ["MIT", "Apache-2.0"]
  head "file://#{File.expand_path("../..", __dir__)}", using: :git, branch: "main"

  depends_on "rust" => :build
  depends_on "tmux"

  def install
    system "cargo", "install", *std_cargo_args(path: "host")
    generate_completions_from_executable(bin/"assigner", "completions")
    (man1/"assigner.1").write Utils.safe_popen_read(bin/"assigner", "man")
  end

  # What is wrong with the configuration, the data or the policy is not mended by another try.
  service do
    run [opt_bin/"assigner", "run"]
    keep_alive successful_exit: false
    environment_variables PATH: std_service_path_env
  end

  test do
    system bin/"assigner", "send", "--shell", "true"
    assert_match "pending", shell_output("#{bin}/assigner list")
  end
end
