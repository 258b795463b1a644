package main

import (
	"encoding/json"

	"github.com/portcullis-host/portcullis/tests/go/serve"
)

// Everything that a plugin is told, as JSON. What was not said is null; settings that were not set
// are {}.
//
//	| Of a request                                      |                                          |
//	|---------------------------------------------------|------------------------------------------|
//	| dryRun, backup                                    | bool                                     |
//	| mode, workingDirectory, outputDirectory,          | text or null                             |
//	| conflictStrategy, authProfile                     |                                          |
//	| context (the resolver context), parameters        | JSON or null                             |
//	| iteration                                         | null or item, index, itemAlias,          |
//	|                                                   | indexAlias                               |
//	| solution                                          | null or name, version, displayName,      |
//	|                                                   | description, category, tags, source      |
//	| settings                                          | a JSON object                            |
//
//	| Of a configuration                                |                                          |
//	|---------------------------------------------------|------------------------------------------|
//	| quiet, noColor                                    | bool                                     |
//	| binaryName                                        | text                                     |
//	| profile                                           | text or null                             |
//	| settings                                          | a JSON object                            |

func ofRequest(seen *serve.Request) object {
	return object{
		"dryRun":           seen.DryRun,
		"mode":             text(seen.Mode),
		"workingDirectory": text(seen.WorkingDirectory),
		"outputDirectory":  text(seen.OutputDirectory),
		"conflictStrategy": text(seen.ConflictStrategy),
		"backup":           seen.Backup,
		"iteration":        ofIteration(seen.Iteration),
		"parameters":       seen.Parameters,
		"solution":         ofSolution(seen),
		"context":          seen.ResolverContext,
		"authProfile":      text(seen.AuthProfile),
		"settings":         ofSettings(seen.ExecutionSettings),
	}
}

func ofConfiguration(seen serve.Configuration) object {
	return object{
		"quiet":      seen.Quiet,
		"noColor":    seen.NoColor,
		"binaryName": seen.BinaryName,
		"profile":    text(seen.Profile),
		"settings":   ofSettings(seen.Settings),
	}
}

func ofIteration(iteration *serve.Iteration) any {
	if iteration == nil {
		return nil
	}
	return object{
		"item":       iteration.Item,
		"index":      iteration.Index,
		"itemAlias":  iteration.ItemAlias,
		"indexAlias": iteration.IndexAlias,
	}
}

func ofSolution(seen *serve.Request) any {
	solution := seen.Solution
	if solution == nil {
		return nil
	}
	return object{
		"name":        solution.GetName(),
		"version":     solution.GetVersion(),
		"displayName": solution.GetDisplayName(),
		"description": solution.GetDescription(),
		"category":    solution.GetCategory(),
		"tags":        append([]string{}, solution.GetTags()...),
		"source":      solution.GetSource(),
	}
}

func ofSettings(settings map[string]json.RawMessage) object {
	shown := object{}
	for name, value := range settings {
		shown[name] = value
	}
	return shown
}

// text makes what was not said null.
func text(said string) any {
	if said == "" {
		return nil
	}
	return said
}
