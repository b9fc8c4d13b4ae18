// Command hydrant is the daemon and its tools.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/alecthomas/kong"
)

// The exit codes.
const (
	exitOK      = 0
	exitFailed  = 1
	exitUsage   = 2
	exitPartial = 3 // run --once: records were refused; status: the daemon is down
)

// exit is an error that says everything in its text and ends the process with a code of its own. An empty text says nothing.
type exit struct {
	code int
	text string
}

func (e *exit) Error() string { return e.text }

// cli is the command line.
type cli struct {
	Run      runCmd      `cmd:"" help:"Take records in and deliver them."`
	Validate validateCmd `cmd:"" help:"Check the configuration and tell all its mistakes. Opens no network."`
	Status   statusCmd   `cmd:"" help:"Show what each pipeline and destination has done and has yet to do. Exits with 3 when the daemon is down."`
	Buffer   bufferCmd   `cmd:"" help:"Look after a data directory while no daemon runs on it."`
	Version  versionCmd  `cmd:"" help:"Print the version."`
	Help     helpCmd     `cmd:"" help:"Show help for a command."`
}

// console is where a command prints, and the kinds that a configuration may name: tests have more.
type console struct {
	out, err io.Writer
	screen   *screen // err, for the daemon
	kinds    kinds
}

func main() { os.Exit(start(os.Args[1:], builtin)) }

// start runs one command line and returns the exit code.
func start(args []string, k kinds) int {
	c := &console{os.Stdout, os.Stderr, &screen{to: os.Stderr}, k}
	parser, answered := newParser(c)
	ctx, err := parser.Parse(args)
	if *answered {
		return exitOK // by the help that was asked for
	}
	if err != nil {
		fmt.Fprintf(c.err, "hydrant: %s\nTry: hydrant help\n", err)
		return exitUsage
	}
	err = ctx.Run(c)
	var e *exit
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &e):
		if e.text != "" {
			fmt.Fprintf(c.err, "hydrant: %s\n", e.text)
		}
		return e.code
	}
	fmt.Fprintf(c.err, "hydrant: %s\n", err)
	return exitFailed
}

// newParser also returns where it notes that --help has been answered.
func newParser(c *console) (parser *kong.Kong, answered *bool) {
	answered = new(bool)
	parser, err := kong.New(&cli{},
		kong.Name("hydrant"),
		kong.Description("hydrant takes records in, keeps them on disk and delivers them once, in batches."),
		kong.Writers(c.out, c.err),
		kong.Exit(func(int) { *answered = true }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
	if err != nil {
		panic(fmt.Sprintf("BUG: command line: %s", err))
	}
	return parser, answered
}

type helpCmd struct {
	Command []string `arg:"" optional:"" help:"The command to explain."`
}

// Run implements `hydrant help`.
func (h *helpCmd) Run(c *console) error {
	parser, answered := newParser(c)
	if _, err := parser.Parse(append(h.Command, "--help")); !*answered {
		return &exit{exitUsage, text(err)}
	}
	return nil
}

type versionCmd struct{}

// Run implements `hydrant version`.
func (versionCmd) Run(c *console) error {
	_, err := fmt.Fprintf(c.out, "hydrant %s %s/%s %s\n", version(), runtime.GOOS, runtime.GOARCH, runtime.Version())
	return err
}

// stamped is the version that the linker was told: see the Makefile.
var stamped string

// version is what was stamped, else that of the module.
func version() string {
	if stamped != "" {
		return stamped
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}
