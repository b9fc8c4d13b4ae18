package config

import (
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"
)

// defaultDataDir is where the data lies when neither the file nor $STATE_DIRECTORY says.
const defaultDataDir = "/var/lib/hydrant"

// The keys of the file as they are decoded; what they become is Config.
type fileKeys struct {
	DataDir   Path      `yaml:"data_dir" default:"$STATE_DIRECTORY, else /var/lib/hydrant" doc:"The log, the spools and the journals. Made with mode 0700 and locked against a second daemon."`
	Memory    Size      `yaml:"memory" default:"256MiB or half the cgroup's limit, the smaller" doc:"Batches in flight, of all pipelines together; at least 64MiB."`
	Log       LogConfig `yaml:"log"`
	Shutdown  Shutdown  `yaml:"shutdown"`
	Admin     Admin     `yaml:"admin"`
	Pipelines raw       `yaml:"pipelines" doc:"One or more streams by name. A name has 1–64 of A–Z a–z 0–9 _ . - and is the stream's name in the APIs."`
}

type pipelineKeys struct {
	Sources      raw       `yaml:"sources" doc:"One or more doors, each an item with one kind."`
	Buffer       Buffer    `yaml:"buffer"`
	Batch        Batch     `yaml:"batch"`
	Retry        retryKeys `yaml:"retry"`
	Destinations raw       `yaml:"destinations" doc:"One or more sinks, each an item with one kind."`
	ErrorOutput  raw       `yaml:"error_output" default:"a file output in data_dir/errors/PIPELINE" doc:"Where records go that are refused for good: {file: …} or {s3: …}."`
}

type retryKeys struct {
	GiveUpAfter patience `yaml:"give_up_after" doc:"How long a batch is tried before it goes to the error output: never, or at least 1s, which needs an error_output that is not the failing sink."`
}

type destinationKeys struct {
	Name        string    `yaml:"name" default:"the kind" doc:"1–64 of A–Z a–z 0–9 _ . -; required when a kind occurs twice. The destination's cursor belongs to it."`
	Batch       Batch     `yaml:"batch"`
	Retry       retryKeys `yaml:"retry"`
	ErrorOutput raw       `yaml:"error_output" default:"the pipeline's" doc:"Overrides the pipeline's."`
	Concurrency int       `yaml:"concurrency" doc:"Batches under way at once, 1–64. With 1 they become visible in order."`
}

func defaultFile() fileKeys {
	return fileKeys{
		Log:      LogConfig{Level: "info", Format: "text"},
		Shutdown: Shutdown{Grace: 25 * time.Second, Drain: true},
	}
}

func defaultPipeline() pipelineKeys {
	return pipelineKeys{
		Buffer: Buffer{Shards: 1, MaxBytes: 10 << 30},
		Batch:  Batch{Size: 5 << 20, Interval: 60 * time.Second},
	}
}

// defaultDestination starts from what the pipeline says for all of them: each key of a destination overrides one.
func defaultDestination(p *pipelineKeys) destinationKeys {
	return destinationKeys{Batch: p.Batch, Retry: p.Retry, Concurrency: 4}
}

// Load reads and checks the file at path. env looks up a variable, as os.LookupEnv does. All problems come at once, sorted
// by place; the Config is nil if one of them is a mistake (see Failed).
func Load(path string, env func(string) (string, bool), kinds Kinds) (*Config, []Problem) {
	text, err := readConfig(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	return Parse(path, text, env, kinds)
}

// Inspect is Load for tools beside the daemon, which may run without its environment and its rights: variables that are not
// set and secrets that cannot be read are no problems, and what they stand for keeps its default. Only data_dir must be known.
func Inspect(path string, env func(string) (string, bool), kinds Kinds) (*Config, []Problem) {
	text, err := readConfig(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	return parseWith(path, text, env, kinds, readFile, true)
}

func unreadable(path string, err error) []Problem {
	return []Problem{{File: path, Found: "the configuration cannot be read: " + reason(err), Want: "name a file that can, with -c FILE"}}
}

// readConfig reads one byte more than Parse takes, at the most. A pipe will do.
func readConfig(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile+1))
}

// Parse is Load for a text that was read already; name is where from. It opens nothing but the secrets that the text names.
func Parse(name string, text []byte, env func(string) (string, bool), kinds Kinds) (*Config, []Problem) {
	return parseWith(name, text, env, kinds, readFile, false)
}

func parseWith(name string, text []byte, env func(string) (string, bool), kinds Kinds, read func(string, int64) ([]byte, error), inspect bool) (*Config, []Problem) {
	d := &decoder{file: name, env: env, readFile: read, kinds: kinds, sections: map[NameChecker]entry{}}
	path, err := filepath.Abs(name)
	if err != nil {
		d.add(Problem{Found: "a relative name, and the working directory is gone", Want: "name the file by its whole path"})
		return nil, d.problems
	}
	d.dir = filepath.Dir(path)
	cfg := d.config(d.parse(text))
	if inspect {
		d.problems = slices.DeleteFunc(d.problems, func(p Problem) bool { return p.outside })
	}
	if Failed(d.problems) {
		cfg = nil
	}
	return cfg, byPlace(d.problems)
}

// config decodes and checks the whole file.
func (d *decoder) config(root *node) *Config {
	if root == nil {
		return nil
	}
	top := entry{key: "the file", at: Place{1, 1}, value: root}
	keys := defaultFile()
	d.fields(top, reflect.ValueOf(&keys).Elem(), nil)
	if root.bad {
		return nil
	}
	if i, given := root.keys["data_dir"]; given && root.entries[i].value.bad {
		d.required(root.entries[i].value)
	}
	if keys.DataDir == "" {
		keys.DataDir = Path(d.stateDirectory())
	}
	cfg := &Config{File: d.file, DataDir: string(keys.DataDir), Memory: keys.Memory, Log: keys.Log, Shutdown: keys.Shutdown, Admin: keys.Admin}
	r := &Report{d, top}
	checkFile(r, cfg)
	cfg.Pipelines = d.pipelines(r, keys.Pipelines, cfg.DataDir)
	d.checkListeners(r, cfg)
	return cfg
}

// required takes what is wrong with n for a mistake of the file, also where it lies outside: nothing can be done without it.
func (d *decoder) required(n *node) {
	for i := range d.problems {
		if d.problems[i].Place == n.at {
			d.problems[i].outside = false
		}
	}
}

// stateDirectory is the default data_dir: what systemd's StateDirectory= gives, the first if there are several.
func (d *decoder) stateDirectory() string {
	if dirs, _ := d.env("STATE_DIRECTORY"); dirs != "" {
		if first, _, _ := strings.Cut(dirs, ":"); first != "" {
			return d.absolute(first)
		}
	}
	return defaultDataDir
}
