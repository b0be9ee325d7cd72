<?php

// A backend on the distribution's own Symfony Messenger, with the configuration and the classes
// that docs/bridge.md gives and the test unpacked into a folder. What a framework would do with
// them is done here by hand: the transports are made from the configuration, and messages go where
// its routing says.
//
//   php backend.php FOLDER send        reads a JSON list of [class, fields], and sends each
//   php backend.php FOLDER receive N   waits for N events; prints each as a line of JSON

namespace Symfony\Component\DependencyInjection\Loader\Configurator {
    /** Stands where the framework's own would: keeps what the configuration says. */
    final class ContainerConfigurator
    {
        public array $said = [];

        public function extension(string $name, array $config): void
        {
            $this->said[$name] = $config;
        }
    }
}

namespace {
    use Symfony\Component\DependencyInjection\Loader\Configurator\ContainerConfigurator;
    use Symfony\Component\Messenger\Bridge\Amqp\Transport\AmqpTransportFactory;
    use Symfony\Component\Messenger\Envelope;
    use Symfony\Component\Messenger\Transport\Serialization\Serializer;
    use Symfony\Component\Messenger\Transport\TransportInterface;

    foreach (['Messenger', 'Messenger/Bridge/Amqp', 'Serializer', 'PropertyAccess'] as $component) {
        require_once "/usr/share/php/Symfony/Component/$component/autoload.php";
    }
    set_error_handler(static function (int $level, string $text, string $file, int $line): bool {
        // Silenced ones (the components announce deprecations so) stay silent.
        if (error_reporting() & $level) {
            throw new ErrorException($text, 0, $level, $file, $line);
        }

        return false;
    });

    [, $folder, $action] = $argv;
    foreach (glob("$folder/src/Message/*.php") as $class) {
        require_once $class;
    }
    $container = new ContainerConfigurator();
    (require "$folder/config/packages/messenger.php")($container);
    $messenger = $container->said['framework']['messenger'];

    $transport = static function (string $name) use ($messenger): TransportInterface {
        $of = $messenger['transports'][$name];
        if ('messenger.transport.symfony_serializer' !== $of['serializer']) {
            throw new LogicException("the transport $name has another serializer than the test knows");
        }
        $dsn = str_replace('%env(RABBITMQ_URL)%', getenv('RABBITMQ_URL'), $of['dsn']);

        return (new AmqpTransportFactory())->createTransport($dsn, $of['options'], Serializer::create());
    };

    /** Everything of a message that was read, by its typed properties. */
    $told = static function (object $message): array {
        $plain = static fn ($value) => $value instanceof DateTimeInterface
            ? $value->format(DateTimeInterface::ATOM)
            : $value;

        return ['class' => $message::class, 'fields' => array_map($plain, get_object_vars($message))];
    };

    /** A message from its fields; those of a session become a session. */
    $made = static function (string $class, array $fields): object {
        $session = static fn (array $of) => new App\Message\SessionData(...$of);
        foreach ($fields as $name => $value) {
            if (str_ends_with($name, 'session')) {
                $fields[$name] = $session($value);
            } elseif ('backup_sessions_pool' === $name) {
                $fields[$name] = array_map($session, $value);
            }
        }

        return new $class(...$fields);
    };

    if ('send' === $action) {
        foreach (json_decode(stream_get_contents(STDIN), true, 512, JSON_THROW_ON_ERROR) as [$class, $fields]) {
            $transport($messenger['routing'][$class])->send(new Envelope($made($class, $fields)));
        }
    } elseif ('receive' === $action) {
        $events = $transport('telewarden_events');
        $deadline = time() + 50;
        for ($left = (int) $argv[3]; $left > 0;) {
            foreach ($events->get() as $envelope) {
                echo json_encode($told($envelope->getMessage()), JSON_THROW_ON_ERROR), "\n";
                $events->ack($envelope);
                --$left;
            }
            if (time() > $deadline) {
                throw new RuntimeException("$left events did not come");
            }
            usleep(50_000);
        }
    } else {
        throw new InvalidArgumentException("there is no action $action");
    }
}
