package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/hydrantd/hydrant/config"
)

// configFlag chooses the configuration file.
type configFlag struct {
	Config string `short:"c" placeholder:"FILE" help:"The configuration; else ./hydrant.yaml, else /etc/hydrant/hydrant.yaml."`
}

// places are where the configuration is looked for.
var places = []string{"hydrant.yaml", "/etc/hydrant/hydrant.yaml"}

// find returns the file that was named, or the first that is there.
func (f configFlag) find() (string, error) {
	if f.Config != "" {
		return f.Config, nil
	}
	for _, name := range places {
		if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
			return name, nil
		}
	}
	return "", fmt.Errorf("there is no configuration in ./%s nor in %s: write one, or name it with -c FILE", places[0], places[1])
}

// load reads the configuration and prints what is wrong with it. An error says that it cannot be used.
func (f configFlag) load(c *console, say io.Writer) (*config.Config, error) {
	return f.read(c, say, config.Load)
}

// inspect is load for what needs no more than data_dir and the names: neither the daemon's environment nor its secrets.
func (f configFlag) inspect(c *console, say io.Writer) (*config.Config, error) {
	return f.read(c, say, config.Inspect)
}

func (f configFlag) read(c *console, say io.Writer, how func(string, func(string) (string, bool), config.Kinds) (*config.Config, []config.Problem)) (*config.Config, error) {
	name, err := f.find()
	if err != nil {
		return nil, err
	}
	cfg, problems := how(name, os.LookupEnv, c.kinds.config())
	for _, p := range problems {
		fmt.Fprintln(say, p)
	}
	if config.Failed(problems) {
		return nil, &exit{code: exitFailed}
	}
	return cfg, nil
}

type validateCmd struct{ configFlag }

// Run implements `hydrant validate`.
func (v *validateCmd) Run(c *console) error {
	cfg, err := v.load(c, c.out)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.out, "%s: ok, %s\n", cfg.File, plural(len(cfg.Pipelines), "pipeline"))
	return err
}

// plural is n with its noun: 1 record, 2 records.
func plural[N int | int64](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
