"""A plain worker, as one is written in an afternoon: consume, call the ESP, insert a row, ack; job by job.

    worker.py AMQP_URL QUEUE POSTGRES_URL ESP_HOST_PORT CONCURRENCY

Works until its standard input ends. No claim, no limits, no retries: a killed one sends again what it had sent.
"""

import asyncio
import json
import sys

import aio_pika
import aiohttp
import asyncpg

INSERT = """INSERT INTO result (id, state, esp, provider_message_id) VALUES ($1, 'accepted', 'main', $2)
            ON CONFLICT (id) DO NOTHING"""


def request(job):
    """The job as SendGrid wants it."""
    return json.dumps({
        "personalizations": [{"to": [job["to"]]}],
        "from": job["from"],
        "subject": job["subject"],
        "content": [{"type": "text/plain", "value": job["text"]}, {"type": "text/html", "value": job["html"]}],
        "custom_args": {"job_id": job["id"]},
    }, separators=(",", ":"))


async def main(amqp, queue_name, db, esp, concurrency):
    url = f"http://{esp}/v3/mail/send"
    headers = {"content-type": "application/json", "authorization": "Bearer bench"}
    pool = await asyncpg.create_pool(db, min_size=4, max_size=10)
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=concurrency), headers=headers)
    connection = await aio_pika.connect(amqp)
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=concurrency)
    queue = await channel.get_queue(queue_name, ensure=False)

    async def work(message):
        job = json.loads(message.body)
        async with session.post(url, data=request(job)) as response:
            if response.status != 202:
                raise RuntimeError(f"the ESP answered {response.status}")
            provider_id = response.headers.get("x-message-id")
        await pool.execute(INSERT, job["id"], provider_id)
        await message.ack()

    await queue.consume(work)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await connection.close()
    await session.close()
    await pool.close()


if __name__ == "__main__":
    if len(sys.argv) != 6:
        sys.exit(__doc__)
    asyncio.run(main(*sys.argv[1:5], int(sys.argv[5])))
