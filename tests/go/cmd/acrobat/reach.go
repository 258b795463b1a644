package main

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Reaching for what a plugin may not have been granted: files, network, other processes.

func printOut(in *input) (any, error) {
	var out *os.File
	switch in.Stream {
	case "stdout":
		out = os.Stdout
	case "stderr":
		out = os.Stderr
	default:
		return nil, errors.New("unknown stream: " + in.Stream)
	}
	printed := strings.Repeat(in.Text, max(in.Repeat, 1))
	_, err := out.WriteString(printed)
	return object{"bytes": len(printed)}, err
}

func read(path string) (any, error) {
	text, err := os.ReadFile(path)
	return object{"text": string(text)}, err
}

func connect(ctx context.Context, address string) (any, error) {
	var dialer net.Dialer
	connection, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return object{"connected": true}, connection.Close()
}

// The variable by which a child of fork knows what it is for.
const sleeper = "ACROBAT_SLEEPER"

// fork starts a child that stays in our process group, so that whoever ends the group ends it too. Tests know it by its
// TMPDIR.
func fork() (any, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	child := exec.Command(program)
	child.Env = []string{sleeper + "=1", "TMPDIR=" + os.TempDir()}
	if err := child.Start(); err != nil {
		return nil, err
	}
	go func() { _ = child.Wait() }()
	return object{"pid": child.Process.Pid}, nil
}

// sleeping does nothing for two minutes in a child of fork; the end of that is a safety net only.
func sleeping() bool {
	if os.Getenv(sleeper) == "" {
		return false
	}
	time.Sleep(2 * time.Minute)
	return true
}
