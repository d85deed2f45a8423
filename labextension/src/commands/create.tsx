import { Dialog, ReactWidget } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import React from 'react';

import type { Client } from '../api/client';
import { ApiError } from '../api/errors';
import type { Profile } from '../api/types';
import { duration, processors, size } from '../model/format';
import { BucketFields } from './bucketFields';
import type { UpdateBuckets } from './bucketForm';
import {
  type Field,
  type Form,
  type OpenWith,
  EMPTY_FORM,
  requestOf,
  wrongFields
} from './form';

/** What was made, and what is to be opened on it. */
export interface ICreated {
  kernelId: string;
  openWith: OpenWith;
}

/**
 * Ask what a new runner is to be, until one starts or the user no longer wants one.
 *
 * What the server finds wrong is said at the field, and nothing that was typed is lost.
 */
export async function askAndCreate(
  client: Client,
  path: string,
  trans: TranslationBundle
): Promise<ICreated | null> {
  const [profiles, { backend }] = await Promise.all([
    client.profiles(),
    client.ready()
  ]);
  const initial = profiles.find(profile => profile.default) ?? profiles[0];
  let form: Form = { ...EMPTY_FORM, profile: initial?.name ?? '' };
  let problem: ApiError | null = null;
  for (;;) {
    const body = new CreateForm(form, problem, profiles, backend, trans);
    const { button } = await new Dialog<Form>({
      title: trans.__('New runner'),
      body,
      buttons: [
        Dialog.cancelButton({ label: trans.__('Cancel') }),
        Dialog.okButton({ label: trans.__('Start') })
      ],
      focusNodeSelector: wrongSelector(problem)
    }).launch();
    form = body.getValue();
    if (!button.accept) {
      return null;
    }
    try {
      const { kernel } = await client.startKernel(requestOf(form, path));
      return { kernelId: kernel.id, openWith: form.openWith };
    } catch (error) {
      if (!(error instanceof ApiError)) {
        throw error;
      }
      problem = error;
    }
  }
}

function wrongSelector(problem: ApiError | null): string {
  return problem ? '[aria-invalid="true"]' : 'select';
}

class CreateForm extends ReactWidget implements Dialog.IBodyWidget<Form> {
  constructor(
    private form: Form,
    private readonly problem: ApiError | null,
    private readonly profiles: readonly Profile[],
    private readonly backend: string,
    private readonly trans: TranslationBundle
  ) {
    super();
    this.addClass('gra-Create');
  }

  getValue(): Form {
    return this.form;
  }

  protected override render(): React.JSX.Element {
    return (
      <Fields
        form={this.form}
        problem={this.problem}
        profiles={this.profiles}
        backend={this.backend}
        onChange={change => {
          this.form = { ...this.form, ...change };
          this.update();
        }}
        onBuckets={update => {
          // Of what is typed now: the fields may not be drawn with it yet.
          this.form = { ...this.form, buckets: update(this.form.buckets) };
          this.update();
        }}
        trans={this.trans}
      />
    );
  }
}

function Fields(props: {
  form: Form;
  problem: ApiError | null;
  profiles: readonly Profile[];
  backend: string;
  onChange: (change: Partial<Form>) => void;
  onBuckets: (update: UpdateBuckets) => void;
  trans: TranslationBundle;
}): React.JSX.Element {
  const { form, problem, profiles, onChange, trans } = props;
  const profile = profiles.find(each => each.name === form.profile);
  const settings = profile?.settings ?? null;
  const wrong = wrongFields(problem);
  const time = (seconds: number | null | undefined): string =>
    seconds == null ? trans.__('never') : duration(seconds, trans);
  const input = (
    field: Exclude<Field, 'profile' | 'openWith' | 'buckets'>,
    label: string,
    placeholder: string
  ): React.JSX.Element => (
    <label className="gra-Create-field">
      <span>{label}</span>
      <input
        className="jp-mod-styled"
        type="text"
        value={form[field]}
        placeholder={placeholder}
        aria-invalid={wrong.has(field)}
        {...(wrong.has(field) && { 'aria-describedby': 'gra-create-problem' })}
        onChange={event => onChange({ [field]: event.target.value })}
      />
    </label>
  );
  return (
    <div className="gra-Create-fields">
      {problem && (
        <div
          id="gra-create-problem"
          className="gra-Create-problem"
          role="alert"
        >
          {problem.message} {problem.hint}
        </div>
      )}
      <label className="gra-Create-field">
        <span>{trans.__('Profile')}</span>
        <select
          className="jp-mod-styled"
          value={form.profile}
          aria-invalid={wrong.has('profile')}
          onChange={event => onChange({ profile: event.target.value })}
        >
          {profiles.map(each => (
            <option key={each.name} value={each.name} disabled={!each.settings}>
              {each.name}
            </option>
          ))}
        </select>
      </label>
      {profile?.description && (
        <p className="gra-Create-note">{profile.description}</p>
      )}
      {profile?.error && (
        <div className="gra-Create-problem">{profile.error.message}</div>
      )}
      <fieldset>
        <legend>{trans.__('Size')}</legend>
        {input(
          'cpu',
          trans.__('CPU'),
          settings ? processors(settings.resources.cpu) : ''
        )}
        {input(
          'memory',
          trans.__('Memory'),
          settings ? size(settings.resources.memory) : ''
        )}
        {input(
          'ephemeral_storage',
          trans.__('Disk'),
          settings ? size(settings.resources.ephemeral_storage) : ''
        )}
        {input(
          'gpu',
          trans.__('GPUs'),
          settings ? String(settings.resources.gpu) : ''
        )}
        {props.backend === 'local' && (
          <p className="gra-Create-note">
            {trans.__(
              'A runner on the server’s own machine shows its size and is not held to it.'
            )}
          </p>
        )}
      </fieldset>
      {props.backend !== 'local' &&
        input('image', trans.__('Image'), settings?.image ?? '')}
      <fieldset>
        <legend>{trans.__('Ends by itself')}</legend>
        {input('idle', trans.__('when idle for'), time(settings?.ttl.idle))}
        {input(
          'orphan',
          trans.__('when nobody is connected for'),
          time(settings?.ttl.orphan)
        )}
        {input(
          'lifetime',
          trans.__('in any case after'),
          time(settings?.ttl.lifetime)
        )}
      </fieldset>
      <BucketFields
        buckets={form.buckets}
        problem={problem}
        profile={profile}
        isLocal={props.backend === 'local'}
        onUpdate={props.onBuckets}
        trans={trans}
      />
      <label className="gra-Create-field">
        <span>{trans.__('Open')}</span>
        <select
          className="jp-mod-styled"
          value={form.openWith}
          onChange={event =>
            onChange({ openWith: event.target.value as OpenWith })
          }
        >
          <option value="notebook">{trans.__('a notebook')}</option>
          <option value="console">{trans.__('a console')}</option>
          <option value="nothing">{trans.__('nothing now')}</option>
        </select>
      </label>
    </div>
  );
}
