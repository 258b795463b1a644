package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"

	"github.com/portcullis-host/portcullis/tests/go/pluginpb"
)

// authenticate makes one call of an auth handler, in the words of scafctl (contract spec 4.7 and 4.8). Answers
// are the messages of the wire, times included; what scafctl drops of them is shown.
func (h *host) authenticate(ctx context.Context, call *call, c command) (any, error) {
	name := c.Name
	switch c.Do {
	case "handlers":
		answer, err := h.handlers.GetAuthHandlers(ctx, &pluginpb.GetAuthHandlersRequest{})
		return shown(answer, err)
	case "configure":
		return nil, h.configureHandler(ctx, c)
	case "login":
		return h.login(ctx, call, c)
	case "logout":
		request := &pluginpb.LogoutRequest{}
		if err := fill(c.Request, request); err != nil {
			return nil, err
		}
		request.HandlerName = name
		_, err := h.handlers.Logout(ctx, request)
		return nil, err
	case "status":
		request := &pluginpb.GetStatusRequest{}
		if err := fill(c.Request, request); err != nil {
			return nil, err
		}
		request.HandlerName = name
		answer, err := h.handlers.GetStatus(ctx, request)
		return shown(answer, err)
	case "token":
		request := &pluginpb.GetTokenRequest{}
		if err := fill(c.Request, request); err != nil {
			return nil, err
		}
		request.HandlerName = name
		answer, err := h.handlers.GetToken(ctx, request)
		if err != nil {
			return nil, fmt.Errorf("plugin auth handler %s get-token: %w", name, err)
		}
		return fields(answer)
	case "tokens":
		answer, err := h.handlers.ListCachedTokens(ctx, &pluginpb.ListCachedTokensRequest{HandlerName: name})
		return shown(answer, err)
	case "purge":
		answer, err := h.handlers.PurgeExpiredTokens(ctx, &pluginpb.PurgeExpiredTokensRequest{HandlerName: name})
		return answer.GetPurgedCount(), err
	case "stop":
		answer, err := h.handlers.StopAuthHandler(ctx, &pluginpb.StopAuthHandlerRequest{HandlerName: name})
		return nil, optional(err, "stop auth handler failed", answer.GetError())
	case "flows":
		answer, err := h.handlers.DetectAvailableFlows(ctx, &pluginpb.DetectAvailableFlowsRequest{HandlerName: name})
		if err == nil && answer.GetError() != "" {
			err = errors.New("detect available flows failed: " + answer.GetError())
		}
		return shown(answer, err)
	case "server-mode":
		answer, err := h.handlers.ActivateServerMode(ctx, &pluginpb.ActivateServerModeRequest{Settings: c.Input})
		if err == nil && answer.GetError() != "" {
			err = errors.New("activate server mode failed: " + answer.GetError())
		}
		return nil, err
	}
	return nil, fmt.Errorf("an auth handler does not %s", c.Do)
}

func shown(answer proto.Message, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return fields(answer)
}

func (h *host) configureHandler(ctx context.Context, c command) error {
	request := &pluginpb.ConfigureAuthHandlerRequest{BinaryName: "scafctl"}
	if err := fill(c.Request, request); err != nil {
		return err
	}
	request.HandlerName, request.ProtocolVersion = c.Name, protocolVersion
	request.Settings, request.HostServiceId = settings(c), h.service.announced()
	request.HostCapabilities = &pluginpb.HostCapabilities{PromptAuthResponse: h.service.asks()}
	answer, err := h.handlers.ConfigureAuthHandler(ctx, request)
	return optional(err, "configure auth handler failed", answer.GetError())
}

// login prints the prompts as they come. The first result or error is the end of it.
func (h *host) login(ctx context.Context, call *call, c command) (any, error) {
	result, err := h.loginResult(ctx, call, c)
	if err != nil {
		return nil, fmt.Errorf("plugin auth handler %s login: %w", c.Name, err)
	}
	return fields(result)
}

func (h *host) loginResult(ctx context.Context, call *call, c command) (*pluginpb.LoginResult, error) {
	request := &pluginpb.LoginRequest{}
	if err := fill(c.Request, request); err != nil {
		return nil, err
	}
	request.HandlerName = c.Name
	// A stream that is left before its end is given up with its context.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := h.handlers.Login(ctx, request)
	if err != nil {
		return nil, fmt.Errorf("login RPC failed: %w", err)
	}
	for prompts := 0; ; prompts++ {
		if c.Hold != 0 && prompts == c.Hold {
			h.print.event(call.id, "held")
			if err := call.held(ctx); err != nil {
				return nil, err
			}
		}
		message, err := stream.Recv()
		if err == io.EOF {
			return nil, errors.New("login stream ended without result")
		}
		if err != nil {
			return nil, fmt.Errorf("login stream error: %w", err)
		}
		switch payload := message.GetPayload().(type) {
		case *pluginpb.LoginStreamMessage_DeviceCodePrompt:
			prompt, err := fields(payload.DeviceCodePrompt)
			if err != nil {
				return nil, err
			}
			if !c.Sizes {
				h.print.event(call.id, map[string]any{"prompt": prompt})
			}
		case *pluginpb.LoginStreamMessage_Result:
			return payload.Result, nil
		case *pluginpb.LoginStreamMessage_Error:
			return nil, errors.New("plugin login error: " + payload.Error)
		}
	}
}
