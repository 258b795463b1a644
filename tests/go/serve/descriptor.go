package serve

import (
	"encoding/json"
	"fmt"

	"github.com/portcullis-host/portcullis/tests/go/pluginpb"
)

// Descriptor is what a provider says of itself. Schemas are JSON Schema texts.
type Descriptor struct {
	Name                   string
	DisplayName            string
	Description            string
	Version                string
	Category               string
	Capabilities           []string
	Schema                 string
	OutputSchemas          map[string]string
	SensitiveFields        []string
	WriteOperations        []string
	HasExtractDependencies bool
}

// encode fills the message as the SDK does: every schema as text, and once more in the structured form
// when it has properties (contract spec 2.4).
func (d *Descriptor) encode() (*pluginpb.ProviderDescriptor, error) {
	wire := &pluginpb.ProviderDescriptor{
		Name:                   d.Name,
		DisplayName:            d.DisplayName,
		Description:            d.Description,
		Version:                d.Version,
		Category:               d.Category,
		Capabilities:           d.Capabilities,
		ApiVersion:             "v1",
		SensitiveFields:        d.SensitiveFields,
		HasExtractDependencies: d.HasExtractDependencies,
		WriteOperations:        d.WriteOperations,
	}
	if d.Schema != "" {
		structured, err := structure(d.Schema)
		if err != nil {
			return nil, err
		}
		wire.Schema = structured
		wire.RawSchema = []byte(d.Schema)
	}
	for capability, text := range d.OutputSchemas {
		structured, err := structure(text)
		if err != nil {
			return nil, err
		}
		if structured != nil {
			if wire.OutputSchemas == nil {
				wire.OutputSchemas = map[string]*pluginpb.Schema{}
			}
			wire.OutputSchemas[capability] = structured
		}
		if wire.RawOutputSchemas == nil {
			wire.RawOutputSchemas = map[string][]byte{}
		}
		wire.RawOutputSchemas[capability] = []byte(text)
	}
	return wire, nil
}

// property is as much of a JSON Schema as the structured form has room for.
type property struct {
	Type             string            `json:"type"`
	Description      string            `json:"description"`
	Default          json.RawMessage   `json:"default"`
	Examples         []json.RawMessage `json:"examples"`
	Enum             []json.RawMessage `json:"enum"`
	Format           string            `json:"format"`
	Pattern          string            `json:"pattern"`
	MinLength        int32             `json:"minLength"`
	MaxLength        int32             `json:"maxLength"`
	MinItems         int32             `json:"minItems"`
	MaxItems         int32             `json:"maxItems"`
	Minimum          *float64          `json:"minimum"`
	Maximum          *float64          `json:"maximum"`
	ExclusiveMinimum *float64          `json:"exclusiveMinimum"`
	ExclusiveMaximum *float64          `json:"exclusiveMaximum"`
}

// structure returns the structured form of a schema, or nil for one without properties.
func structure(text string) (*pluginpb.Schema, error) {
	var schema struct {
		Properties map[string]property `json:"properties"`
		Required   []string            `json:"required"`
	}
	if err := json.Unmarshal([]byte(text), &schema); err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	if len(schema.Properties) == 0 {
		return nil, nil
	}
	structured := &pluginpb.Schema{Parameters: map[string]*pluginpb.Parameter{}}
	for name, property := range schema.Properties {
		structured.Parameters[name] = property.encode()
	}
	for _, name := range schema.Required {
		if parameter := structured.Parameters[name]; parameter != nil {
			parameter.Required = true
		}
	}
	return structured, nil
}

func (p *property) encode() *pluginpb.Parameter {
	wire := &pluginpb.Parameter{
		Type:         p.Type,
		Description:  p.Description,
		DefaultValue: p.Default,
		Format:       p.Format,
		Pattern:      p.Pattern,
		MinLength:    p.MinLength,
		MaxLength:    p.MaxLength,
		MinItems:     p.MinItems,
		MaxItems:     p.MaxItems,
	}
	if len(p.Examples) > 0 {
		wire.Example = string(p.Examples[0])
	}
	for _, value := range p.Enum {
		wire.EnumValues = append(wire.EnumValues, value)
	}
	wire.Minimum, wire.HasMinimum = bound(p.Minimum)
	wire.Maximum, wire.HasMaximum = bound(p.Maximum)
	wire.ExclusiveMinimum, wire.HasExclusiveMinimum = bound(p.ExclusiveMinimum)
	wire.ExclusiveMaximum, wire.HasExclusiveMaximum = bound(p.ExclusiveMaximum)
	return wire
}

func bound(value *float64) (float64, bool) {
	if value == nil {
		return 0, false
	}
	return *value, true
}
