"""The official `openai` package through the gateway: streams, tools, structured output, errors, retries and cancellation."""

import asyncio

import openai
import pydantic
import pytest
from support.openai_upstream import Upstream, gateway_to, in_a_loop, until

KEY = "a-key-of-a-tenant-0001"
ASKED = [{"role": "user", "content": "What is the weather in Rome?"}]
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": WEATHER}}]


class Place(pydantic.BaseModel):
    city: str


def client(gateway, **options):
    return openai.AsyncOpenAI(base_url=gateway.url + "/v1", api_key=KEY, **({"max_retries": 0} | options))


def test_answers_streams_and_the_other_endpoints():
    async def work():
        async with gateway_to(Upstream()) as gateway, client(gateway) as ai:
            whole = await ai.chat.completions.create(model="m", messages=ASKED, n=2, logit_bias={"1": 5}, metadata={})
            assert len(whole.choices) == 2
            assert whole.usage.completion_tokens == 80
            stream = await ai.chat.completions.create(model="m", messages=ASKED, stream=True, max_completion_tokens=5)
            chunks = [c async for c in stream]
            assert "".join(c.choices[0].delta.content or "" for c in chunks) == "a stream of several words "
            assert all(c.usage is None for c in chunks)
            options = {"include_usage": True}
            stream = await ai.chat.completions.create(model="m", messages=ASKED, stream=True, stream_options=options)
            assert [c.usage.completion_tokens async for c in stream if c.usage] == [40]
            old = await ai.completions.create(model="m", prompt="a", max_tokens=3, stop=None, echo=False)
            assert old.choices[0].text == "a stream of "
            response = await ai.responses.create(model="m", input="Hello", instructions="Be short.")
            assert response.output_text.startswith("a stream")
            events = [e async for e in await ai.responses.create(model="m", input="Hello", stream=True)]
            assert events[-1].type == "response.completed"
            embedding = await ai.embeddings.create(model="m", input=["a", "b"], encoding_format="float")
            assert embedding.data[0].embedding == [0.1, 0.2]
            assert [m.id async for m in ai.models.list()] == ["m"]

    in_a_loop(work)


def test_an_agent_calls_a_tool_and_gets_a_structured_answer():
    async def work():
        async with gateway_to(Upstream()) as gateway, client(gateway) as ai:
            turns = list(ASKED)
            first = await ai.chat.completions.create(model="m", messages=turns, tools=TOOLS, tool_choice="auto")
            message = first.choices[0].message
            assert message.content is None
            turns.append(message.model_dump(exclude_unset=True))
            turns.append({"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "rain"})
            last = await ai.chat.completions.create(model="m", messages=turns, tools=TOOLS, parallel_tool_calls=False)
            assert last.choices[0].finish_reason == "stop"
            parsed = await ai.chat.completions.parse(model="m", messages=ASKED, response_format=Place)
            assert parsed.choices[0].message.parsed == Place(city="Rome")

    in_a_loop(work)


def test_errors_name_the_field_and_busy_servers_are_asked_again():
    how = Upstream(fail=[(429, {"retry-after-ms": "1"}), (503, {"retry-after-ms": "1"})])

    async def work():
        async with gateway_to(how, limits={"max_answer_tokens": 100}) as gateway:
            async with client(gateway) as ai:
                with pytest.raises(openai.BadRequestError) as refused:
                    await ai.chat.completions.create(model="m", messages=ASKED, max_tokens=1000)
                assert refused.value.param == "max_tokens"
            async with client(gateway, max_retries=2) as ai:
                answer = await ai.chat.completions.create(model="m", messages=ASKED)
                assert answer.choices
                assert len(how.bodies) == 3
            how.error_after = 3
            async with client(gateway) as ai:
                stream = await ai.chat.completions.create(model="m", messages=ASKED, stream=True)
                with pytest.raises(openai.APIError, match="out of memory"):
                    _ = [c async for c in stream]

    in_a_loop(work)


def test_a_stream_that_is_closed_stops_the_server():
    how = Upstream(delay_s=0.05)

    async def work():
        async with gateway_to(how) as gateway, client(gateway) as ai:
            stream = await ai.chat.completions.create(model="m", messages=ASKED, stream=True)
            async for _ in stream:
                break
            await stream.close()
            await until(lambda: how.n_stopped == 1)
            asking = asyncio.ensure_future(ai.chat.completions.create(model="m", messages=ASKED, stream=True))
            await until(lambda: len(how.bodies) >= 2)
            asking.cancel()
            await until(lambda: gateway.slots.limit.n_under_way == 0)

    in_a_loop(work)


def test_the_key_of_a_server_comes_from_the_environment_or_a_file(tmp_path, monkeypatch):
    file = tmp_path / "key"
    file.write_text("from-a-file\n")
    monkeypatch.setenv("SERVER_KEY", "from-the-environment")
    keys = []

    async def work():
        for source in ({"key_env": "SERVER_KEY"}, {"key_file": str(file)}, {}):
            how = Upstream()
            async with gateway_to(how, keys=source) as gateway, client(gateway) as ai:
                await ai.chat.completions.create(model="m", messages=ASKED)
            keys.append(how.headers[0].get("Authorization"))

    in_a_loop(work)
    assert keys == ["Bearer from-the-environment", "Bearer from-a-file", None]


def test_responses_are_redacted_in_requests_answers_and_events():
    how = Upstream(words=("card", "4111", "1111", "1111", "1111", "of", "a@example.com"))

    async def work():
        async with gateway_to(how, redact=True) as gateway, client(gateway) as ai:
            asked = [{"role": "user", "content": [{"type": "input_text", "text": "I am b@example.com"}]}]
            options = {"model": "m", "instructions": "Write to c@example.com.", "max_output_tokens": 7}
            whole = await ai.responses.create(input=asked, **options)
            assert whole.output_text == "card [CARD] of [EMAIL] "
            assert how.bodies[-1]["input"][0]["content"][0]["text"] == "I am [EMAIL]"
            assert how.bodies[-1]["instructions"] == "Write to [EMAIL]."
            events = [e async for e in await ai.responses.create(input="d@example.com", stream=True, **options)]
            assert how.bodies[-1]["input"] == "[EMAIL]"
            texts = [e.delta for e in events if e.type == "response.output_text.delta"]
            assert "".join(texts) == "card [CARD] of [EMAIL] " == events[-1].response.output_text
            assert "4111" not in str(events)

    in_a_loop(work)


def test_the_agents_package_runs_its_tools_and_streams():
    agents = pytest.importorskip("agents")
    agents.set_tracing_disabled(True)

    @agents.function_tool
    def weather(city: str) -> str:
        """Return the weather of a city."""
        return f"rain in {city}"

    async def work():
        async with gateway_to(Upstream()) as gateway, client(gateway) as ai:
            model = agents.OpenAIChatCompletionsModel(model="m", openai_client=ai)
            agent = agents.Agent(name="a", instructions="Answer.", tools=[weather], model=model)
            result = await agents.Runner.run(agent, "What is the weather in Rome?")
            assert result.final_output.startswith("a stream")
            assert any("rain in Rome" in str(item.raw_item) for item in result.new_items)
            streamed = agents.Runner.run_streamed(agents.Agent(name="b", model=model), "Hello")
            assert [e async for e in streamed.stream_events()]

    in_a_loop(work)
