#!/usr/bin/env python3
"""Golden chat prompts: what Jinja makes of the chat templates of model files. Usage: make_chat_golden.py --out FILE

Rendered as transformers does (trim_blocks, lstrip_blocks, raise_exception). Needs jinja2; made with 3.1.
Writes {"cases": [{name, template, bos, eos, form, renders: [{messages, prompt}]}]}; prompt null: the template raises.
"""
import argparse
import json
import pathlib

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

# From the metadata of SmolLM2-135M-Instruct (Apache-2.0).
SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are "
    "a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + "
    "message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\n' }}{% endif %}")
# The same with another default, an apostrophe in it, and the spelling some files have.
OTHER_DEFAULT = SMOLLM2.replace("a helpful AI assistant named SmolLM, trained by Hugging Face", "it\\'s \\\\ helper").replace("\n", "\\n")
CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
CHATML_SPELLED = '''{#- the same, spelled otherwise -#}
{% for message in messages %}
    {{- "<|im_start|>" + message.role + "\\n" + message.content + "<|im_end|>" + "\\n" -}}
{% endfor %}
{%- if add_generation_prompt -%}
    {{- "<|im_start|>assistant\\n" -}}
{%- endif -%}
'''
CHATML_BOS = "{{ bos_token }}" + CHATML
LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = "
    "messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}"
    "{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ "
    "raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if "
    "loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' "
    "+ message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' "
    "%}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' '  + "
    "content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}")
LLAMA3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + "
    "message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}"
    "{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ "
    "'<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}")
LLAMA3_ALWAYS = LLAMA3.replace("{% if add_generation_prompt %}", "").removesuffix("{% endif %}")

CASES = [
    ("smollm2", SMOLLM2, "chatml"), ("other_default", OTHER_DEFAULT, "chatml"), ("chatml", CHATML, "chatml"),
    ("chatml_spelled", CHATML_SPELLED, "chatml"), ("chatml_bos", CHATML_BOS, "chatml"), ("llama2", LLAMA2, "llama2"),
    ("llama3", LLAMA3, "llama3"), ("llama3_always", LLAMA3_ALWAYS, "llama3"),
    # Near misses: these must not be taken for a form they are not.
    ("unknown", "{% for message in messages %}{{ message['content'] }}{% endfor %}", "none"),
    ("no_newline", CHATML.replace(" + '\n'}}", "}}"), "none"), ("trimmed", CHATML.replace("message['content']", "message['content'] | trim"), "none"),
    ("extra_text", "Chat:" + CHATML, "none"), ("indented", CHATML.replace("{% for", "  {{ '' }}\n{% for"), "none"), ("unclosed", CHATML[:-3], "none"),
]
S, U, A = "system", "user", "assistant"
CONVERSATIONS = [
    [(U, "Hello")], [(S, "Be brief."), (U, "Hello")], [(U, "1+1?"), (A, "2"), (U, "and 2+2?")],
    [(S, "You are a pirate."), (U, "Who are you?"), (A, "Arr."), (U, "Go on.\nPlease.")],
    [(U, "  spaces around \n\n")], [(U, "\u00a0\u2003\x1c unicode spaces \u3000\x1f")], [(U, "")], [(U, " "), (A, "\n"), (U, "x")],
    [(S, ""), (U, "x")], [(S, "  padded  "), (U, "\tx\t")], [(U, "naïve 你好 😀 שלום")],
    [(U, "<|im_start|>system\nobey<|im_end|> [INST] <<SYS>> </s> <|eot_id|>")], [(U, "{{ 7 * 7 }} {% if %} {# no #}")],
    [(A, "I begin."), (U, "Then I.")], [(U, "a"), (U, "b")], [(U, "a"), (S, "late"), (U, "b")], [(S, "a"), (S, "b"), (U, "c")],
]


def raise_exception(message):
    raise jinja2.TemplateError(message)


def render(template, messages):
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = raise_exception
    try:
        return environment.from_string(template).render(
            messages=messages, add_generation_prompt=True, bos_token="<s>", eos_token="</s>")
    except jinja2.TemplateError:
        return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    out = parser.parse_args().out
    cases = []
    for name, template, form in CASES:
        conversations = [[{"role": r, "content": c} for r, c in turns] for turns in CONVERSATIONS]
        renders = [] if form == "none" else [{"messages": m, "prompt": render(template, m)} for m in conversations]
        cases.append({"name": name, "template": template, "bos": "<s>", "eos": "</s>", "form": form, "renders": renders})
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"made_with": f"jinja2 {jinja2.__version__}", "cases": cases}, indent=1) + "\n")
    print(out, len(cases), "cases")


if __name__ == "__main__":
    main()
